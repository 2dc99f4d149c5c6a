"""Claims about the optimizer's protocol (GRD501 to GRD510)."""

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


def clipped_in_vain(question: Question) -> Answer:
    """GRD504: gradients are clipped where that does not bound the step."""
    error = question.raised()
    if error:
        return confirmed(f"raised `{error}`")
    applied = question.evidence("applied here")
    taken = sum(row.count for row in question.at(question.recording.steps, applied)) if applied is not None else 0
    if question.level < 1:
        return undecided(_NOT_WATCHED)
    if "at every micro-batch" in question.finding.message and question.hits:
        clipped = f"clipped {counted(question.hits, 'time')} for {counted(taken, 'step')}"
        return confirmed(clipped) if question.hits > taken else refuted(clipped)
    return undecided(f"{question.ran}; what clipping changes is not recorded")


def not_unscaled(question: Question) -> Answer:
    """GRD505: scaled gradients that are clipped or applied as they are."""
    error = question.raised()
    if error:
        return confirmed(f"raised `{error}`")
    if "is dropped" in question.finding.message and question.hits:
        return confirmed(f"{question.ran}, each time for nothing")
    return undecided(f"{question.ran}; what a scaler does to gradients is not recorded")


def added_up(question: Question) -> Answer:
    """GRD506: the losses of an accumulation are added up without being divided."""
    if question.level < 1:
        return undecided(_NOT_WATCHED)
    backwards = sum(row.count for row in question.within(question.recording.backwards))
    if question.evidence("taken apart here") is not None and backwards > 1:
        return confirmed(f"{counted(backwards, 'backward')}, each from the mean of a piece")
    applied = question.evidence("applied here")
    taken = sum(row.count for row in question.at(question.recording.steps, applied)) if applied is not None else 0
    seen = f"{counted(backwards, 'backward')} for {counted(taken, 'step')}"
    if not taken:
        return undecided(f"{seen}: nothing was applied")
    return confirmed(f"{seen}, each with the whole loss") if backwards > taken else refuted(seen)


def stepped_too_early(question: Question) -> Answer:
    """GRD503: a step before the backward of its iteration, and GRD508: one whose closure computes no gradients."""
    error = question.raised()
    if error:
        return confirmed(f"raised `{error}`")
    rows = question.at(question.recording.steps)
    taken, empty = sum(row.count for row in rows), sum(row.empty for row in rows)
    if empty:
        return confirmed(f"{empty} of {counted(taken, 'step')} found no gradient at all")
    if taken and question.finding.code == "GRD503":
        return refuted(f"{counted(taken, 'step')}, all of which found gradients")
    return undecided(f"{question.ran}; {counted(taken, 'step')} seen here")


def steps_on_nothing(question: Question) -> Answer:
    """GRD507: steps that find no gradient, or a backward pass after which there is none."""
    here = question.at(question.recording.steps)
    empty = sum(row.empty for row in here)
    if empty:
        return confirmed(f"{empty} of {counted(sum(row.count for row in here), 'step')} found no gradient at all")
    if question.level < 1:
        return undecided(_NOT_WATCHED)
    if question.hits and not question.recording.steps:
        return confirmed(f"{question.ran}, and no optimizer made a step")
    return undecided(f"{question.ran}; {counted(len(question.recording.steps), 'place')} made steps")


def forgets(question: Question) -> Answer:
    """GRD509: an optimizer that is made in every iteration."""
    times = question.hits or 0
    if times > 1:
        return confirmed(f"made {counted(times, 'time')}")
    return undecided(f"{question.ran}; made once only")


def kept(question: Question) -> Answer:
    """GRD510: gradients that are filled with zeros."""
    if question.hits:
        return confirmed(f"{question.ran} and kept the tensors")
    return undecided("it is not known whether this ran")


CLAIMS: dict[str, Claim] = {
    "GRD501": never_cleared,
    "GRD502": cleared_too_early,
    "GRD503": stepped_too_early,
    "GRD504": clipped_in_vain,
    "GRD505": not_unscaled,
    "GRD506": added_up,
    "GRD507": steps_on_nothing,
    "GRD508": stepped_too_early,
    "GRD509": forgets,
    "GRD510": kept,
}
"""The claim of each rule."""
