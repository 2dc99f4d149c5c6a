"""What functions return beside a loss: its terms, and the outputs that it was computed from.

A pass that starts from the loss walks their graphs too. Whoever adds them up keeps what backward leaves of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from gradlint.domains import grad_mode
from gradlint.domains.values import Fn, Obj
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.lifetime.received import built, each_item, parts_of, put_away, taken
from gradlint.project.values.call_uses import parameters_for
from gradlint.project.values.lineage import Lineage

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.lifetime.walked import Start, Walked
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Trace

Path: TypeAlias = "tuple[int | str, ...]"
"""Where something stands in what a function returns: in a tuple, in a dict, in a dict in a tuple."""


class Components:
    """Such things in one body."""

    def __init__(self, walked: Walked, run: Run) -> None:
        self.walked, self.tracer, self.run = walked, walked.tracer, run
        self.known = self.tracer.definitions(run.body)

    def beside(self, target: ir.Ref, starts: list[Start]) -> Iterator[tuple[ir.Ref, ir.Event, ir.Event | None]]:
        """The temporaries that get such things together with the ``target`` of a pass, which walks ``starts``.

        Each with the event that makes it, and the one use that is about all that the function returns, if it is one.
        """
        for call, part in self._calls(target):
            callees = [atom.body for atom in self._functions(call)]
            for callee in callees if len(callees) == 1 else ():
                traces = [self.tracer.trace(("param", callee, name)) for name in self._walked(call, starts)]
                for path in self._paths(callee, part, traces):
                    yield from self._received(call, path)

    def _calls(self, target: ir.Ref) -> Iterator[tuple[ir.Call, int | str]]:
        """The calls that return what a pass starts from, or a term of that, as a part of something."""
        for event in Lineage(self.tracer, self.run).of(target):
            part: object = None
            if isinstance(event, ir.Unpack):
                whole, part = event.src, event.index
            elif isinstance(event, ir.Item):
                key = self.known.makers.get(event.key)
                whole, part = event.obj, key.value if isinstance(key, ir.Const) else None
            call = self._behind(whole) if isinstance(part, (int, str)) else None
            if call is not None and isinstance(part, (int, str)):
                yield call, part

    def _behind(self, ref: ir.Ref) -> ir.Call | None:
        maker = self.known.makers.get(ref)
        if isinstance(maker, ir.Load) and (only := self.known.only(maker)) is not None:
            maker = self.known.makers.get(only.src)
        return maker if isinstance(maker, ir.Call) else None

    def _functions(self, call: ir.Call) -> list[Fn]:
        """The functions of the file that a call runs, the ``forward`` of a module too; none if it runs any other."""
        program = self.walked.program
        fns = [local.fn for local in self.run.recorder.local_calls() if local.span == call.span]
        for atom in self.tracer.value(self.run.body, call.func) if not fns else ():
            cls = atom.cls if isinstance(atom, Obj) and program.is_module(atom) else None
            forward = classes.own_function(program, cls, "forward") if cls is not None else None
            if forward is not None:
                fns.append(program.world.fn(forward.body, atom, forward.wrappers, forward.marks))
        return [] if any(program.stubs.data(fn.body) is not None for fn in fns) else fns

    def _walked(self, call: ir.Call, starts: list[Start]) -> set[str]:
        """The parameters of what is called that are given something that the pass walks."""
        found: set[str] = set()
        for ref in (*call.args, *(given for _, given in call.keywords)):
            node = ("ref", self.run.body, ref)
            if any(self.tracer.trace(start.node).nodes.get(node) for start in starts):
                found |= {name for fn in self._functions(call) for name in parameters_for(call, ref, fn)}
        return found

    # -- what is returned ----------------------------------------------------------------------------------

    def _paths(self, callee: Body, part: int | str, traces: list[Trace]) -> Iterator[Path]:
        """The things on the graph that a function returns beside a part that is walked, in the one way it does so."""
        run = self.walked.program.run(callee, grad_mode.INHERITED)
        known = self.tracer.definitions(callee)
        returned = [event.src for event in known.events(ir.Return) if event.src is not None]
        if run is None or not run.complete or len(returned) != 1:
            return
        items = dict(items_of(known, returned[0], ()))
        loss = items.get((part,))
        if loss is None:
            return
        starts = self.walked.of_value(run, self.tracer.value(callee, loss), loss, frozenset())
        traces = [*traces, *(self.tracer.trace(start.node) for start in starts)]
        for path, ref in items.items():
            # Of a container only the items are meant: others in it may be off the graph.
            if path == (part,) or isinstance(built(known, ref), ir.Build):
                continue
            if any(trace.nodes.get(("ref", callee, ref)) for trace in traces):
                yield path

    # -- where the caller has it ---------------------------------------------------------------------------

    def _received(self, call: ir.Call, path: Path) -> Iterator[tuple[ir.Ref, ir.Event, ir.Event | None]]:
        wholes: list[tuple[ir.Ref, ir.Event]] = [(call.dst, call)]
        for step in path[:-1]:
            wholes = [one for ref, _ in wholes for one in taken(self.known, ref, step)]
        last = path[-1]
        for whole, maker in wholes:
            yield from ((ref, event, None) for ref, event in taken(self.known, whole, last))
            yield from ((ref, maker, keeper) for ref, keeper in put_away(self.known, whole))
            if isinstance(last, str):
                yield from ((ref, event, None) for ref, event in each_item(self.known, whole))


def items_of(known: Definitions, ref: ir.Ref, path: Path) -> Iterator[tuple[Path, ir.Ref]]:
    """What stands in a tuple or a dict that is written out, and in the dicts in it."""
    for part, item in parts_of(known, built(known, ref)) if len(path) < 2 else ():
        if part is not None:
            yield (*path, part), item
            yield from items_of(known, item, (*path, part))
