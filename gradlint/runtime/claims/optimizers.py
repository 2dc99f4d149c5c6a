"""Claims about the optimizer's protocol (GRD501, GRD502)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, refuted, undecided
from gradlint.runtime.recording import Stale

_NOT_WATCHED = "the optimizer's protocol is recorded from level 1 on"


def never_cleared(question: Question) -> Answer:
    """GRD501: backward adds to gradients that a step has used and nobody cleared."""
    recording = question.recording
    applied = question.evidence("applied here")
    here = {row.place for row in question.within(recording.backwards)}
    stale = question.within(recording.stale) or [row for row in recording.stale if row.place in here]
    if not stale and applied is not None:
        # Another backward came first, and added to what this step had used and this backward adds to.
        steps = {row.place for row in question.at(recording.steps, applied)}
        stale = [row for row in recording.stale if row.step in steps]
    if stale:
        return confirmed(*(_added(row) for row in stale))
    if question.level < 1:
        return undecided(_NOT_WATCHED)
    backwards = sum(row.count for row in question.within(recording.backwards))
    steps_taken = sum(row.count for row in recording.steps)
    seen = f"{counted(backwards, 'backward')} here, {counted(steps_taken, 'step')} in all"
    if backwards < 2 or steps_taken < 2:
        return undecided(f"{seen}: too few to use a gradient twice")
    if question.evidence("leaves gradients here") is not None:
        return undecided(f"{seen}; which losses were meant to add up cannot be seen")
    return refuted(f"{seen}: no step used a gradient that an earlier one had used")


def cleared_too_early(question: Question) -> Answer:
    """GRD502: gradients are cleared before the step that needs them."""
    recording = question.recording
    lost = question.within(recording.discarded)
    if lost:
        count, emptied = sum(row.count for row in lost), sum(row.emptied for row in lost)
        parameters = max(row.parameters for row in lost)
        then = f"; {counted(emptied, 'step')} then found none at all" if emptied else ""
        return confirmed(
            f"cleared the gradients of {counted(parameters, 'parameter')} {counted(count, 'time')} "
            f"before any step had used them{then}"
        )
    if question.level < 1:
        return undecided(_NOT_WATCHED)
    if "runs its closure many times" in question.finding.message:
        return undecided(f"{question.ran}; what adds up inside a step's closure cannot be told from what is meant to")
    if any(not row.callers for row in recording.discarded):
        return undecided(f"{question.ran}; gradients were cleared unused elsewhere, perhaps on behalf of this line")
    if sum(row.count for row in recording.steps) < 2 or (question.hits or 0) < 2:
        return undecided(f"{question.ran}; no gradient was there to be lost")
    return refuted(f"{question.ran}, and a step had used every gradient that it cleared")


def _added(row: Stale) -> str:
    parameters = counted(row.parameters, "parameter")
    return f"{counted(row.count, 'backward')} at {row.place} added to gradients of {parameters} used at {row.step}"


CLAIMS: dict[str, Claim] = {"GRD501": never_cleared, "GRD502": cleared_too_early}
"""The claim of each rule."""
