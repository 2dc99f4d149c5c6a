"""What inference mode spoils for later: the uses that some other code gets to feel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN
from gradlint.facts import InferenceUse

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


def lasting(program: Program, run: Run) -> Iterator[InferenceUse]:
    """The uses in one body whose product outlives inference mode, other than as a module in eval mode.

    A body that is in inference mode because of its callers is not to blame for what it makes.
    """
    fn = program.functions.get(run.body)
    set_by_callers = run.entry == grad_mode.INFERENCE and (fn is None or not fn.wrappers)
    marks = program.marks_left.get((run.body, run.entry), {})
    for use in run.recorder.all(InferenceUse):
        is_made = use.product is not None
        lasts = use.product in program.left_inference and marks.get(use.product, 0) & (EVAL | TRAIN) != EVAL
        if not is_made or (lasts and not set_by_callers):
            yield use
