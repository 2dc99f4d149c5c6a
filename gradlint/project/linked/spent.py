"""What functions return after they went backward from it, or trained its weights: told to those who may keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.facts import Backward
from gradlint.ir import events as ir
from gradlint.linking.interface import Spent
from gradlint.project.lifetime.outdated import Outdated
from gradlint.project.lifetime.walked import Walked

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.linking.interface import Place
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def spent(program: Program, evaluation: Evaluation, run: Run, locate: Callable[[Span], Place]) -> Iterator[Spent]:
    """Yield the parts of what a body returns whose graph nobody is to walk any more."""
    if run.body.kind != "function" or not run.returned or not run.recorder.all(Backward):
        return
    walked = Walked(program, program.name, evaluation)
    for part, place in walked.returned(run):
        yield Spent("walked", part, locate(place))
    for part, again in Outdated(program, program.name, evaluation).returned(run):
        name = f"{evaluation.tracer.label(run.body, again.call.func)}(...)"
        yield Spent("outdated", part, locate(again.call.span), name)


def keeps_of_steps(program: Program, tracer: Tracer, run: Run) -> bool:
    """Whether a loop gives an optimizer to a function out of sight, and uses what that returns: perhaps a loss."""
    known = tracer.definitions(run.body)
    for outside in run.recorder.outside_calls():
        call = known.calls.get(outside.span) if outside.telling else None
        if call is None or not known.loops(call) or all(map(is_dropped, known.readers.get(call.dst, ()))):
            continue
        given = (atom for ref in call.args for atom in tracer.value(run.body, ref))
        if any(map(program.is_optimizer, given)):
            return True
    return False


def is_dropped(event: ir.Event) -> bool:
    """Whether an event is the end of a statement that uses no result."""
    return isinstance(event, ir.Discard)
