"""What the backward passes of a body walk: their targets, and what these were surely computed from.

A value on the way of a backward pass is on the graph for certain, so nothing has to be known of the module that made
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Fn, Obj, Sym
from gradlint.facts import Backward, Elsewhere, Forward, Step
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.components import Components
from gradlint.project.lifetime.numbers import is_number, is_rewritten
from gradlint.project.lifetime.received import built, each_item, holding, parts_of, put_away, received, root
from gradlint.project.lifetime.sources import is_off, loss_sources, of_one_module, sole_sources
from gradlint.project.lifetime.summed import summed
from gradlint.project.lifetime.walked_returns import WalkedReturns
from gradlint.project.values import demands
from gradlint.project.values.call_uses import parameters_for
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import RETURNED
from gradlint.torch_model import roles
from gradlint.torch_model.attributes import tensor_methods, tensor_properties

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.lifetime.received import Part
    from gradlint.project.lifetime.walked_returns import Reason
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Node

BACKWARD = "backward here"


class Start(NamedTuple):
    """A place of a value that a backward pass walks, in the same iteration of ``loops``: ``event`` makes it there.

    ``only``: the value is a part of what is there, and this is the one use that is about all of that.
    """

    node: Node
    event: ir.Event
    name: str
    loops: frozenset[int]
    only: ir.Event | None = None


class Walked:
    """What the backward passes of the bodies of one file walk."""

    def __init__(self, program: Program, path: str, evaluation: Evaluation) -> None:
        self.program, self.path, self.tracer = program, path, evaluation.tracer
        self.calling = evaluation.judging.calling

        self.returns = WalkedReturns(self)

    def starts(self, run: Run) -> Iterator[tuple[Start, Reason]]:
        """What the passes of a body walk, each with the pass: also what it hands to a caller who goes backward.

        And what functions that it calls hand back after they did.
        """
        if purpose.is_test(run.body, self.path):
            return
        yield from self.passes(run)
        handed = (*self._handed_back(run), *self._from_closures(run), *self._from_unseen_closures(run))
        yield from ((start, (place, BACKWARD)) for start, place in handed)

    def passes(self, run: Run) -> Iterator[tuple[Start, Reason]]:
        """What the passes of a body walk, and those of whoever gets what it returns."""
        seen: set[Node] = set()
        for backward in run.recorder.backwards():
            if not is_whole(backward):
                continue
            starts = list(self._of_pass(run, backward))
            for start in (*starts, *self._beside(run, backward, starts)):
                if start.node not in seen or start.only is not None:
                    seen.add(start.node)
                    yield start, (backward.span, BACKWARD)
        for ref, reason in self.returns.of(run):
            for start in self.of_value(run, self.tracer.value(run.body, ref), ref, frozenset()):
                if start.node not in seen:
                    seen.add(start.node)
                    yield start, reason

    def targets(self, run: Run) -> Iterator[tuple[ir.Ref, Reason]]:
        """What the passes of a body start from."""
        for backward in run.recorder.backwards():
            target = start_of(self.tracer.definitions(run.body), backward) if is_whole(backward) else None
            if target is not None:
                yield target, (backward.span, BACKWARD)

    def _of_pass(self, run: Run, backward: Backward) -> Iterator[Start]:
        source = start_of(self.tracer.definitions(run.body), backward)
        yield from self.of_value(run, backward.target.atoms, source, frozenset(backward.loops))

    def of_value(
        self, run: Run, targets: frozenset[Atom], source: ir.Ref | None, loops: frozenset[int]
    ) -> Iterator[Start]:
        """What a pass walks that starts from ``source``, which stands for ``targets``."""
        for atom in targets:
            if isinstance(atom, Sym) and atom.scope is run.body and "." not in atom.path:
                yield Start(("param", run.body, atom.path), ir.Event(run.body.span), atom.path, loops)
        known = self.tracer.definitions(run.body)
        losses = loss_sources(run, targets, lambda atom: self._is_called_loss(run.body, atom))
        certain = {*targets, *sole_sources(run, targets), *of_one_module(run, targets), *losses}
        walked = demands.ancestors(run, targets)
        made = {atom.event: atom for atom in walked if isinstance(atom, Obj) and atom.event in known.blocks}
        # What is nearest to the backward pass comes first: it gives the finding its name.
        nearest = sorted(made.items(), key=lambda one: nearness(one[0], one[1] in targets))
        on_graph = [one for one in nearest if one[1] in certain or run.plain.get(one[1]) == tensor.GRAPH]
        own = [event for event, atom in on_graph if atom in targets]
        yield from self._made(run, own, source, loops)
        behind = list(Lineage(self.tracer, run).of(source)) if source is not None else []
        for ref, event in (*summed(self.tracer, run, behind), *self._given_to_functions(run, behind)):
            yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops)
        yield from self._made(run, [event for event, atom in on_graph if atom not in targets], source, loops)
        yield from self._given_out_of_sight(run, targets, walked, loops)

    def _made(self, run: Run, events: list[ir.Event], source: ir.Ref | None, loops: frozenset[int]) -> Iterator[Start]:
        """What of the results of events a pass walks."""
        known = self.tracer.definitions(run.body)
        for event in events:
            ref = getattr(event, "dst", None)
            parts = walked_parts(known, ref, event, source) if ref is not None else ()
            for part, maker in parts:
                yield Start(("ref", run.body, part), maker, self._called(run.body, maker, part), loops)

    def _given_out_of_sight(
        self, run: Run, targets: frozenset[Atom], walked: set[Atom], loops: frozenset[int]
    ) -> Iterator[Start]:
        """What is on the graph for certain and goes to code out of sight that makes what is walked."""
        known = self.tracer.definitions(run.body)

        def given(atom: Atom) -> Iterator[Atom]:
            call = atom.event if isinstance(atom, Obj) and atom not in run.origins else None
            refs = (*call.args, *(ref for _, ref in call.keywords)) if isinstance(call, ir.Call) else ()
            return (one for ref in refs for one in self.tracer.value(run.body, ref))

        more = demands.ancestors(run, targets, given) - walked
        on_graph = [one for one in more if isinstance(one, Obj) and run.plain.get(one) == tensor.GRAPH]
        made = {one.event for one in on_graph if one.event in known.blocks}
        yield from self._made(run, sorted(made, key=lambda one: one.span), None, loops)

    def _beside(self, run: Run, backward: Backward, starts: list[Start]) -> Iterator[Start]:
        """What functions of the file return beside what a pass starts from."""
        known = self.tracer.definitions(run.body)
        target = start_of(known, backward)
        for ref, event, only in Components(self, run).beside(target, starts) if target is not None else ():
            loops = frozenset(backward.loops) & frozenset(known.loops(event))
            yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops, only)

    def _is_called_loss(self, body: Body, atom: Atom) -> bool:
        """Whether a body has made something and stores it in a variable that is called a loss."""
        known = self.tracer.definitions(body)
        event = atom.event if isinstance(atom, Obj) else None
        ref = getattr(event, "dst", ir.OPAQUE_REF) if event in known.blocks else ir.OPAQUE_REF
        readers = known.readers.get(ref, ()) if not is_number(known, ref) else ()
        return any(isinstance(reader, ir.Store) and roles.LOSS.search(reader.name) for reader in readers)

    def _called(self, body: Body, event: ir.Event, ref: ir.Ref) -> str:
        """How the source calls what an event makes: by the variable that it is stored in, or by the call."""
        readers = self.tracer.definitions(body).readers.get(ref, ())
        shown = self.tracer.label(body, event.func if isinstance(event, ir.Call) else ref)
        call = f"{shown}(...)" if isinstance(event, ir.Call) else shown or "it"
        return next((reader.name for reader in readers if isinstance(reader, ir.Store)), call)

    # -- functions that compute the target -----------------------------------------------------------------

    def _given_to_functions(self, run: Run, behind: list[ir.Event]) -> Iterator[tuple[ir.Ref, ir.Event]]:
        """The arguments on the graph of a function of the file that computes what the pass starts from.

        There is one only, or what made them is: the other arguments are no results.
        """
        known = self.tracer.definitions(run.body)
        for event in behind:
            refs = event.args if isinstance(event, ir.Call) else ()
            given = [ref for ref in refs if isinstance(event, ir.Call) and self._is_walked_in(run, event, ref)]
            makers = [known.makers.get(ref) for ref in given]
            stores = [known.only(maker) if isinstance(maker, ir.Load) else None for maker in makers]
            if len({self._result(run, ref) for ref in given}) == 1:
                yield from ((only.src, known.makers[only.src]) for only in stores if only is not None)

    def _result(self, run: Run, ref: ir.Ref) -> ir.Event | None:
        """The call that something is the result of, or a part of the result of a module."""
        known = self.tracer.definitions(run.body)
        made = root(known, ref)
        if not isinstance(made, ir.Unpack):
            return made if isinstance(made, ir.Call) else None
        whole = root(known, made.src)
        forwards = {forward.span for forward in run.recorder.all(Forward)}
        return whole if isinstance(whole, ir.Call) and whole.span in forwards else None

    def _is_walked_in(self, run: Run, call: ir.Call, ref: ir.Ref) -> bool:
        """Whether an argument is what some call made, and a function of the file returns what is computed from it."""
        if self._result(run, ref) is None or all(is_off(run, atom) for atom in self.tracer.value(run.body, ref)):
            return False
        fns = [atom for atom in self.tracer.value(run.body, call.func) if isinstance(atom, Fn)]
        names = ((fn, name) for fn in fns for name in parameters_for(call, ref, fn))
        return any(use.sure for fn, name in names for use in self.tracer.trace(("param", fn.body, name)).of(RETURNED))

    # -- what other functions walk -------------------------------------------------------------------------

    def _handed_back(self, run: Run) -> Iterator[tuple[Start, ir.Span | Elsewhere]]:
        """What functions of the file return after they went backward from it."""
        known = self.tracer.definitions(run.body)
        for local in run.recorder.local_calls():
            call = known.calls.get(local.span)
            if call is None or not known.loops(call) or local.fn.body is run.body or local.fn.body.is_generator:
                continue
            yield from self._received(run, call, local.fn.body)

    def _from_closures(self, run: Run) -> Iterator[tuple[Start, ir.Span | Elsewhere]]:
        """What ``optimizer.step(closure)`` returns: the loss of the closure, which went backward from it."""
        known = self.tracer.definitions(run.body)
        for call in known.events(ir.Call):
            method = known.makers.get(call.func)
            if not isinstance(method, ir.Attr) or method.name != "step" or len(call.args) != 1:
                continue
            given = self.tracer.value(run.body, call.args[0])
            if len(given) == 1 and known.loops(call) and self._is_optimizer(run.body, method.obj):
                for atom in given:
                    if isinstance(atom, Fn):
                        yield from self._received(run, call, atom.body)

    def _from_unseen_closures(self, run: Run) -> Iterator[tuple[Start, ir.Span]]:
        """What ``closure()`` returns, out of sight, in a loop that makes a step without a backward of its own."""
        known = self.tracer.definitions(run.body)
        steps = [known.calls[step.span] for step in run.recorder.all(Step) if step.span in known.calls]
        around = {loop for step in steps if not step.args for loop in known.loops(step)}
        around -= {loop for backward in run.recorder.backwards() for loop in backward.loops}
        for call in known.events(ir.Call) if around else ():
            if call.args or not roles.CLOSURE.search(self.tracer.label(run.body, call.func)):
                continue
            if any(isinstance(atom, Fn) for atom in self.tracer.value(run.body, call.func)):
                continue
            loops = frozenset(known.loops(call)) & around
            for ref, event in first_part(known, call) if loops else ():
                yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops), call.span

    def _is_optimizer(self, body: Body, ref: ir.Ref) -> bool:
        return any(self.program.is_optimizer(atom) for atom in self.tracer.value(body, ref))

    def _received(self, run: Run, call: ir.Call, callee: Body) -> Iterator[tuple[Start, ir.Span | Elsewhere]]:
        """What a call gets from a function that goes backward from it."""
        known = self.tracer.definitions(run.body)
        loops = frozenset(known.loops(call))
        for part, backward in self._parts(callee):
            for ref, event in received(known, call, part):
                yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops), backward
            if part is None:
                continue
            for ref, keeper in put_away(known, call.dst):
                name = f"{self._called(run.body, call, call.dst)}[{shown(part)}]"
                yield Start(("ref", run.body, ref), call, name, loops, keeper), backward
            for ref, event in each_item(known, call.dst) if isinstance(part, str) else ():
                yield Start(("ref", run.body, ref), event, self._called(run.body, event, ref), loops), backward

    def _parts(self, callee: Body) -> Iterator[tuple[Part, ir.Span | Elsewhere]]:
        """In which part of what it returns a function, of this file or another one, hands back what it walked."""
        told = self.program.stubs.data(callee)
        if told is not None:
            path = (self.program.stubs.id_of(callee) or "").partition(":")[0]
            yield from ((one.part, Elsewhere(path, one.place)) for one in told.spent if one.kind == "walked")
            return
        inner = self.program.run(callee, grad_mode.INHERITED)
        if inner is not None and inner.complete and inner.recorder.all(Backward):
            yield from self.returned(inner)

    def returned(self, callee: Run) -> Iterator[tuple[Part, ir.Span]]:
        """In which part of what it returns a function hands back what it walked."""
        known = self.tracer.definitions(callee.body)
        found: dict[Part, ir.Span] = {}
        for backward in callee.recorder.backwards():
            if backward.how == "grad" or backward.through:
                continue
            for start in self._of_pass(callee, backward):
                trace = self.tracer.trace(start.node)
                for use in trace.of(RETURNED):
                    if not use.sure or use.body is not callee.body or not isinstance(use.event, ir.Return):
                        continue
                    if use.event.src is None or is_rewritten(known, use.event.src):
                        continue
                    maker = built(known, use.event.src)
                    for part, item in parts_of(known, maker):
                        if trace.nodes.get(("ref", callee.body, item)):
                            found.setdefault(part, backward.span)
                    if not isinstance(maker, ir.Build):
                        found.setdefault(None, backward.span)
        yield from found.items()


def is_whole(backward: Backward) -> bool:
    """Whether a pass, of the body itself, fills gradients from something on the graph."""
    return not (backward.how == "grad" or backward.through or backward.modes.off or backward.target.cut)


def shown(part: int | str) -> str:
    """How the source asks for a part of a tuple or of a dict."""
    return f'"{part}"' if isinstance(part, str) else str(part)


def start_of(known: Definitions, backward: Backward) -> ir.Ref | None:
    """The temporary that a pass starts from."""
    call = known.calls.get(backward.span)
    method = known.makers.get(call.func) if call is not None else None
    if call is None:
        return None
    owner = known.makers.get(method.obj) if isinstance(method, ir.Attr) else None
    of_torch = isinstance(owner, (ir.Attr, ir.Load)) and owner.name == "autograd"
    if backward.how != "backward" or of_torch:
        return call.args[0] if call.args else None
    return method.obj if isinstance(method, ir.Attr) else None


def walked_parts(
    known: Definitions, ref: ir.Ref, event: ir.Event, source: ir.Ref | None
) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """What of a value a pass walks: all of it, or the parts that it starts from where others are read as well."""
    named: dict[object, list[tuple[ir.Ref, ir.Event]]] = {}
    for held in holding(known, ref):
        for reader in known.readers.get(held, ()):
            name = named_part(known, reader, held)
            if name is not None:
                named.setdefault(name, []).append((reader.dst, reader))  # type: ignore[attr-defined]
    behind = computed_from(known, source) if named and source is not None else set()
    walked = [reads for reads in named.values() if any(reader in behind for _, reader in reads)]
    if source is None or len(walked) == len(named):
        yield ref, event
    else:
        for reads in walked:
            yield from reads


def named_part(known: Definitions, reader: ir.Event, held: ir.Ref) -> object:
    """By which key or attribute an event takes a part of ``held``; None if it does not."""
    if isinstance(reader, ir.Item) and reader.obj == held:
        key = known.makers.get(reader.key)
        return (key.value,) if isinstance(key, ir.Const) else None
    if not isinstance(reader, ir.Attr) or reader.name in tensor_properties() or reader.name in tensor_methods():
        return None
    is_method = any(isinstance(one, ir.Call) and one.func == reader.dst for one in known.readers.get(reader.dst, ()))
    return None if is_method else reader.name


def computed_from(known: Definitions, ref: ir.Ref) -> set[ir.Event]:
    """All events that a temporary may be computed from."""
    return set(known.behind(ref, known.sources))


def nearness(event: ir.Event, target: bool) -> tuple[int, ...]:
    """How near an event is to the backward pass that walks what it makes: the less the nearer."""
    return (not target, *(-number for number in event.span))


def first_part(known: Definitions, call: ir.Call) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """The first of several things that a call returns, or all of it if it is not taken apart."""
    parts = [*received(known, call, 0)]
    yield from parts or received(known, call, None)
