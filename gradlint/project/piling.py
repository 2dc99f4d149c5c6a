"""Stores that pile up graphs which were walked back already: what backward leaves of a graph still grows.

A value on the way of a backward pass is on the graph for certain, so nothing has to be known of the module that made
it. What it is stored in must not be walked itself: summing up first and going backward later is the other order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import CONTAINER, Literal, Obj, Sym
from gradlint.facts import Backward, Reasons
from gradlint.facts.lifetime import PiledGraph
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.project import demands, outcomes, purpose
from gradlint.project.uses import KEPT, RETURNED, WALKED

if TYPE_CHECKING:
    from gradlint.project.definitions import Definitions
    from gradlint.project.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.uses import Node, Use

CLEARING = frozenset({"clear", "pop", "popleft"})
"""Methods that empty a container."""
OF_LISTS = frozenset({"append", "appendleft", "extend", "insert"})
"""Methods of nothing but lists and their like."""
CHECKS = frozenset({"isinstance", "is_tensor", "hasattr", "type", "callable"})
"""Functions that ask what a value is."""


class Start(NamedTuple):
    """A place of a value that a backward pass walks, in the same iteration of ``loops``: ``event`` makes it there."""

    node: Node
    event: ir.Event
    name: str
    loops: frozenset[int]


class Piling:
    """The stores of one file that pile up walked graphs."""

    def __init__(self, program: Program, path: str, evaluation: Evaluation) -> None:
        self.program, self.path, self.tracer, self.evaluation = program, path, evaluation.tracer, evaluation

    def graphs(self, run: Run) -> Iterator[PiledGraph]:
        """Yield the stores of a body, in source order, each once."""
        if run.body.kind in ("class", "genexp", "module") and not run.body.graph.loops:
            return
        found: dict[ir.Span, PiledGraph] = {}
        for start, backward in self._starts(run):
            for use in self.tracer.trace(start.node).of(KEPT):
                span = use.event.span
                if use.body is run.body and span not in found and self._piles_up(run.body, start, use):
                    reasons: Reasons = ((backward, "backward here"), (span, "what it leaves of the graph is kept here"))
                    through = use.holder is not None and bool(self.tracer.trace(use.holder).of(WALKED))
                    found[span] = PiledGraph(span, use.label or "it", start.name, reasons, through)
        known = {kept.span for kept in self.evaluation.kept_graphs(run.body)}
        yield from sorted((one for one in found.values() if one.span not in known), key=lambda one: one.span)

    # -- what is walked ------------------------------------------------------------------------------------

    def _starts(self, run: Run) -> Iterator[tuple[Start, ir.Span]]:
        """What the backward passes of a body walk: their targets, and what these were computed from."""
        if purpose.is_test(run.body, self.path):
            return
        seen: set[Node] = set()
        for backward in run.recorder.backwards():
            if backward.how == "grad" or backward.through or backward.modes.off or backward.target.cut:
                continue
            for start in self._walked(run, backward):
                if start.node not in seen:
                    seen.add(start.node)
                    yield start, backward.span
        yield from self._handed_back(run)

    def _walked(self, run: Run, backward: Backward) -> Iterator[Start]:
        loops = frozenset(backward.loops)
        for atom in backward.target.atoms:
            if isinstance(atom, Sym) and atom.scope is run.body and "." not in atom.path:
                yield Start(("param", run.body, atom.path), ir.Event(run.body.span), atom.path, loops)
        known = self.tracer.definitions(run.body)
        walked = demands.ancestors(run, backward.target.atoms)
        targets = backward.target.atoms
        made = {atom.event: atom for atom in walked if isinstance(atom, Obj) and atom.event in known.blocks}
        # What is nearest to the backward pass comes first: it gives the finding its name.
        for event, atom in sorted(made.items(), key=lambda one: nearness(one[0], one[1] in targets)):
            ref = getattr(event, "dst", None)
            if ref is not None and (atom in targets or run.plain.get(atom) == tensor.GRAPH):
                yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops)

    def _called(self, body: Body, event: ir.Event, ref: ir.Ref) -> str:
        """How the source calls what an event makes: by the variable that it is stored in, or by the call."""
        readers = self.tracer.definitions(body).readers.get(ref, ())
        call = f"{self.tracer.label(body, event.func)}(...)" if isinstance(event, ir.Call) else "it"
        return next((reader.name for reader in readers if isinstance(reader, ir.Store)), call)

    def _handed_back(self, run: Run) -> Iterator[tuple[Start, ir.Span]]:
        """What functions of the file return after they went backward from it."""
        known = self.tracer.definitions(run.body)
        for local in run.recorder.local_calls():
            call = known.calls.get(local.span)
            if call is None or not known.loops(call) or local.fn.body is run.body or local.fn.body.is_generator:
                continue
            callee = self.program.run(local.fn.body, grad_mode.INHERITED)
            if callee is None or not callee.complete or not callee.recorder.all(Backward):
                continue
            for index, backward in self._returned(callee):
                for ref, event in received(known, call, index):
                    name, loops = self._called(run.body, event, ref), frozenset(known.loops(call))
                    yield Start(("ref", run.body, ref), event, name, loops), backward

    def _returned(self, callee: Run) -> Iterator[tuple[int | None, ir.Span]]:
        """At which place of the tuple that it returns, if it is one, a function hands back what it walked."""
        known = self.tracer.definitions(callee.body)
        found: dict[int | None, ir.Span] = {}
        for backward in callee.recorder.backwards():
            if backward.how == "grad" or backward.through:
                continue
            for start in self._walked(callee, backward):
                trace = self.tracer.trace(start.node)
                for use in trace.of(RETURNED):
                    if not use.sure or use.body is not callee.body or not isinstance(use.event, ir.Return):
                        continue
                    maker = known.makers.get(use.event.src) if use.event.src is not None else None
                    if isinstance(maker, ir.Build):
                        for index, item in enumerate(maker.items if maker.kind == "tuple" else ()):
                            if trace.nodes.get(("ref", callee.body, item)):
                                found.setdefault(index, backward.span)
                    else:
                        found.setdefault(None, backward.span)
        yield from found.items()

    # -- what is kept --------------------------------------------------------------------------------------

    def _piles_up(self, body: Body, start: Start, use: Use) -> bool:
        known = self.tracer.definitions(body)
        if not use.sure or use.holder is None or use.event not in known.blocks or start.event is use.event:
            return False
        if isinstance(use.event, (ir.Augment, ir.Store)) and grad_mode.never_records(
            self.tracer.modes(body, use.event)
        ):
            return False
        if use.holder[0] == "attr" and not known.loops(use.event):
            if not self._is_called_often(body) or self._is_emptied(body, use):
                return False
        elif not outcomes.grows_across(self.tracer, body, start.event, use.loops & start.loops):
            return False
        return not self._is_looked_into(body, use) and not self._is_walked(use)

    def _is_called_often(self, body: Body) -> bool:
        """Whether a method is run again and again: it goes backward once per call."""
        return body.kind == "function" and not body.name.startswith("__")

    def _is_emptied(self, body: Body, use: Use) -> bool:
        """Whether the body that fills an attribute also assigns or empties it."""
        assert use.holder is not None
        name = use.holder[2]
        for block in body.graph.blocks:
            for event in block.events:
                if isinstance(event, ir.SetAttr) and event.name == name and not self._is_its_own(body, event):
                    return True
                if isinstance(event, ir.Attr) and event.name in CLEARING:
                    maker = self.tracer.definitions(body).makers.get(event.obj)
                    if isinstance(maker, ir.Attr) and maker.name == name:
                        return True
        return False

    def _is_its_own(self, body: Body, event: ir.SetAttr) -> bool:
        return isinstance(self.tracer.definitions(body).makers.get(event.src), ir.Augment)

    def _is_walked(self, use: Use) -> bool:
        """Whether somebody goes backward from all that the store holds; from its last item is something else."""
        assert use.holder is not None
        nodes: list[Node] = [use.holder]
        if isinstance(use.event, ir.Augment):
            nodes.append(("ref", use.body, use.event.dst))
        elif isinstance(use.event, ir.Store):
            nodes.append(("def", use.body, use.event))
        elif use.holder[0] == "def":
            assert isinstance(use.holder[2], ir.Store)
            nodes = [("ref", use.body, ref) for ref in self._read_whole(use.body, use.holder[2])]
        return any(self.tracer.trace(node).of(WALKED) for node in nodes)

    def _read_whole(self, body: Body, container: ir.Store) -> Iterator[ir.Ref]:
        """The reads of a container that are not just for its last item."""
        known = self.tracer.definitions(body)
        for load in known.loads.get(container, ()):
            readers = known.readers.get(load.dst, [])
            if not readers or not all(isinstance(one, ir.Item) and self._is_last(body, one) for one in readers):
                yield load.dst

    def _is_last(self, body: Body, item: ir.Item) -> bool:
        return any(isinstance(atom, Literal) and atom.value == -1 for atom in self.tracer.value(body, item.key))

    def _is_looked_into(self, body: Body, use: Use) -> bool:
        """Whether what keeps the value may turn it into a number: it asks what it is, or it is out of sight."""
        if not isinstance(use.event, ir.Call):
            return False
        inner = [getattr(atom, "body", None) for atom in self.tracer.value(body, use.event.func)]
        seen = [one for one in inner if isinstance(one, Body)]
        if seen:
            return any(asks(one) for one in seen)
        method = self.tracer.definitions(body).makers.get(use.event.func)
        if not isinstance(method, ir.Attr) or method.name in OF_LISTS:
            return False
        owner = self.tracer.value(body, method.obj)
        return not owner or not all(isinstance(atom, Obj) and atom.type == CONTAINER for atom in owner)


def nearness(event: ir.Event, target: bool) -> tuple[int, ...]:
    """How near an event is to the backward pass that walks what it makes: the less the nearer."""
    return (not target, *(-number for number in event.span))


def received(known: Definitions, call: ir.Call, index: int | None) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """The temporaries that get the part at ``index`` of what a call returns, or all of it."""
    if index is None:
        yield call.dst, call
        return
    for reader in known.readers.get(call.dst, ()):
        if isinstance(reader, ir.Unpack) and reader.index == index:
            yield reader.dst, reader


def asks(body: Body) -> bool:
    """Whether a function asks what it was given."""
    return any(
        (isinstance(event, ir.Load) and event.name in CHECKS) or (isinstance(event, ir.Attr) and event.name in CHECKS)
        for block in body.graph.blocks
        for event in block.events
    )


def piled_graphs(program: Program, path: str, evaluation: Evaluation, run: Run) -> list[PiledGraph]:
    """The stores of one body that pile up graphs which were walked back."""
    return list(Piling(program, path, evaluation).graphs(run))
