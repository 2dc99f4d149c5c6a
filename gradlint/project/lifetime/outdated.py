"""Results that are kept while the weights that they were computed with are trained on.

A loop goes backward from what a function returns, and takes a step. What the same function returns at another place of
the loop has a graph as well; kept beyond the step, it is a graph whose weights have changed: nobody walks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.values import Fn
from gradlint.facts import Elsewhere, Forward, KeptGraph, Modes, Step
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.growing import spelled_ref
from gradlint.project.lifetime.numbers import is_number
from gradlint.project.lifetime.piling import Piling
from gradlint.project.lifetime.received import built, parts_of, received, root
from gradlint.project.lifetime.walked import Start, start_of
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import KEPT, RETURNED, WALKED
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.lifetime.received import Part
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions


class Again(NamedTuple):
    """A call whose like is trained: ``loops`` are those in which a backward pass walks that, and a step follows."""

    call: ir.Call
    loops: frozenset[int]


class Outdated:
    """Such results in the bodies of one file."""

    def __init__(self, program: Program, path: str, evaluation: Evaluation) -> None:
        self.program, self.tracer = program, evaluation.tracer
        self.piling = Piling(program, path, evaluation)

    def graphs(self, run: Run) -> Iterator[KeptGraph]:
        """Yield the stores of a body that keep them."""
        known = self.tracer.definitions(run.body)
        for again in self._untrained(run):
            name = f"{self.tracer.label(run.body, again.call.func)}(...)"
            start = Start(("ref", run.body, again.call.dst), again.call, name, again.loops)
            yield from self._kept(run, start, again.call.span)
        for local in run.recorder.local_calls():
            call = known.calls.get(local.span)
            if call is None or not known.loops(call) or local.fn.body is run.body:
                continue
            loops = frozenset(known.loops(call))
            for part, name, recorded in self._parts(local.fn.body):
                for ref, event in received(known, call, part):
                    yield from self._kept(run, Start(("ref", run.body, ref), event, name, loops), recorded)

    def _parts(self, callee: Body) -> Iterator[tuple[Part, str, ir.Span | Elsewhere]]:
        """The parts of what a function, of this file or another one, returns that are such results."""
        told = self.program.stubs.data(callee)
        if told is not None:
            path = (self.program.stubs.id_of(callee) or "").partition(":")[0]
            found = (one for one in told.spent if one.kind == "outdated")
            yield from ((one.part, one.name, Elsewhere(path, one.place)) for one in found)
            return
        inner = self.program.run(callee, grad_mode.INHERITED)
        for part, again in self.returned(inner) if inner is not None else ():
            yield part, f"{self.tracer.label(callee, again.call.func)}(...)", again.call.span

    def _kept(self, run: Run, start: Start, recorded: ir.Span | Elsewhere) -> Iterator[KeptGraph]:
        trace = self.tracer.trace(start.node)
        if trace.of(WALKED):
            return
        known = self.tracer.definitions(run.body)
        for use in trace.of(KEPT):
            if use.body is run.body and self.piling.piles_up(run.body, start, use):
                span, block = use.event.span, known.blocks[use.event]
                because: Reasons = ((recorded, "the graph is recorded here"), (span, "and stored here"))
                modes = Modes(grad_mode.INHERITED, {})
                yield KeptGraph(span, modes, block.loops, block.index, use.label or "it", start.name, because)

    # -- calls ---------------------------------------------------------------------------------------------

    def _untrained(self, run: Run) -> Iterator[Again]:
        """The calls in a body of what it trains, from which nobody goes backward."""
        trained = dict(self._trained(run)) if run.complete and run.recorder.all(Step) else {}
        if not trained:
            return
        known = self.tracer.definitions(run.body)
        for call in known.events(ir.Call):
            twins = [(walked, loops) for walked, loops in trained.items() if self._is_like(run, call, walked)]
            modes = self.tracer.modes(run.body, call)
            if call in trained or not twins or not modes or modes & grad_mode.NO_GRAPH:
                continue
            if not purpose.may_be_guarded(self.program, self.tracer, run.body, call):
                yield Again(call, frozenset.union(*(loops for _, loops in twins)))

    def _trained(self, run: Run) -> Iterator[tuple[ir.Call, frozenset[int]]]:
        """The calls whose results a backward pass surely walks, each with the loops that take a step as well."""
        known, lineage = self.tracer.definitions(run.body), Lineage(self.tracer, run)
        stepped = {loop for step in run.recorder.all(Step) for loop in step.loops}
        for backward in run.recorder.backwards():
            target = start_of(known, backward)
            if backward.how == "grad" or backward.through or backward.modes.off or target is None:
                continue
            for event in lineage.of(target):
                if isinstance(event, ir.Call):
                    yield event, frozenset(backward.loops) & stepped

    def _is_like(self, run: Run, call: ir.Call, walked: ir.Call) -> bool:
        """Whether a call runs the same modules as another one, on what may be other data."""
        known = self.tracer.definitions(run.body)
        if call is walked or spelled_ref(known, call.func) != spelled_ref(known, walked.func):
            return False
        if any(forward.span == call.span for forward in run.recorder.all(Forward)):
            return roles.LOSS.search(self.tracer.label(run.body, call.func)) is None
        if not any(isinstance(atom, Fn) for atom in self.tracer.value(run.body, call.func)):
            return False
        if len(call.args) != len(walked.args) or call.keywords or walked.keywords:
            return False
        pairs = list(zip(call.args, walked.args, strict=True))
        others = [(ours, theirs) for ours, theirs in pairs if spelled_ref(known, ours) != spelled_ref(known, theirs)]
        if any(is_number(known, ours) or brings_graph(known, ours, theirs) for ours, theirs in others):
            return False
        shared = {ours for ours, _ in pairs} - {ours for ours, _ in others}
        is_method = isinstance(known.makers.get(call.func), ir.Attr)
        return is_method or any(roles.is_module(self.tracer.label(run.body, ref)) for ref in shared)

    # -- functions -----------------------------------------------------------------------------------------

    def returned(self, inner: Run) -> Iterator[tuple[Part, Again]]:
        """The parts of what a function returns that are such results."""
        known = self.tracer.definitions(inner.body)
        for again in self._untrained(inner):
            trace = self.tracer.trace(("ref", inner.body, again.call.dst))
            for use in trace.of(RETURNED) if not trace.of(WALKED) else ():
                if not use.sure or use.body is not inner.body or not isinstance(use.event, ir.Return):
                    continue
                maker = built(known, use.event.src)
                for part, item in parts_of(known, maker):
                    if trace.nodes.get(("ref", inner.body, item)):
                        yield part, again
                if not isinstance(maker, ir.Build):
                    yield None, again


def brings_graph(known: Definitions, ours: ir.Ref, theirs: ir.Ref) -> bool:
    """Whether one of two arguments may be computed with a graph that the other has not."""
    made = root(known, theirs)
    return made is None or (isinstance(made, (ir.Call, ir.Binary)) and root(known, ours) is not made)


def outdated_graphs(program: Program, path: str, evaluation: Evaluation, run: Run) -> list[KeptGraph]:
    """The stores of one body that keep results of what is trained in the meantime."""
    if run.body.kind not in ("function", "module") or purpose.is_test(run.body, path):
        return []
    known = {kept.span for kept in evaluation.kept_graphs(run.body)}
    found = {kept.span: kept for kept in Outdated(program, path, evaluation).graphs(run)}
    return [kept for span, kept in sorted(found.items()) if span not in known]
