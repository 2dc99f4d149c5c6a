"""What frameworks collect: the results of methods that they call with gradients off, and that turn them on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.facts import Forward, KeptGraph
from gradlint.project import contracts
from gradlint.project.values.uses import RETURNED

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def collected(program: Program, tracer: Tracer, body: Body, run: Run) -> Iterator[KeptGraph]:
    """The graphs that ``body`` records for itself, and returns to a framework that keeps what each batch returned."""
    found = contracts.hook_of(program, body)
    if found is None or found.hook.result != "returned":
        return
    if not grad_mode.never_records(contracts.bits_of(found.hook.grad)):
        return
    for forward in run.recorder.all(Forward):
        call = tracer.definitions(body).calls.get(forward.span)
        if call is None or not forward.modes.bits & grad_mode.ON or forward.result.graph & (tensor.CUT | tensor.PLAIN):
            continue
        for use in tracer.trace(("ref", body, call.dst)).of(RETURNED):
            if use.sure and use.body is body:
                target = f"{tracer.label(body, call.func)}(...)"
                because: Reasons = ((forward.span, "the graph is recorded here"), (use.event.span, "and returned here"))
                place = (use.event.span, forward.modes, forward.loops, forward.block)
                yield KeptGraph(*place, found.caller, target, because, collected=True)
                return
