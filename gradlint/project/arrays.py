"""Whether gradients are on, for all that is known, where numpy is given what is on the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts import Backward
from gradlint.facts.leaves import ArrayUse

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


def arrays(program: Program, run: Run) -> Iterator[ArrayUse]:
    """The tensors on the graph that numpy is given in a body."""
    found = run.recorder.all(ArrayUse)
    if not found:
        return
    goes_back = any(not backward.modes.off for backward in run.recorder.all(Backward))
    for use in found:
        # What is handed to code out of sight may be run with gradients off.
        on = use.modes.bits == grad_mode.ON or goes_back or run.body not in program.escapes
        yield replace(use, known=use.known and on)
