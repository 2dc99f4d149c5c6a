"""Claims about parameters that are hidden, used up, replaced or without a gradient (GRD217 to GRD231)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, refuted, shown_error, undecided


def hides_parameters(question: Question) -> Answer:
    """GRD220: a layer that every ``forward`` makes; what modules hold in other attributes is not recorded."""
    if "`forward`" in question.finding.message and (question.hits or 0) > 1:
        return confirmed(f"{question.ran}: a new one each time")
    return undecided(f"{question.ran}; what a module holds without owning it is not recorded")


def raises_without_gradient(question: Question) -> Answer:
    """GRD218, GRD219: the gradient is None, or is set to what torch refuses."""
    error = next(filter(None, (question.raised(words) for words in ("NoneType", "Tensor or None"))), None)
    if error:
        return confirmed(f"raised `{error}`")
    return undecided(f"{question.ran} and raised nothing about a missing gradient")


def lost_its_gradient(question: Question) -> Answer:
    """GRD218: the next use of the gradient, or the next backward, fails because the name stands for no leaf."""
    raised = question.recording.raised
    known = ("'NoneType'", "does not require grad")
    if raised is not None and question.hits and any(words in raised.message for words in known):
        return confirmed(f"raised `{shown_error(raised)}` afterwards")
    return undecided(f"{question.ran} and raised nothing about a missing gradient")


def is_empty(question: Question) -> Answer:
    """GRD222: an optimizer that gets an empty iterator raises; clipping and loops do not."""
    error = question.raised("empty parameter list")
    if error:
        return confirmed(f"raised `{error}`")
    return undecided(f"{question.ran}; whether it got any parameter is not recorded")


def gradient_is_unused(question: Question) -> Answer:
    """GRD226: data that requires grad; whoever reads its gradient is not recorded."""
    if question.recording.raised is not None:
        return undecided("an exception ended the run")
    calls = [row for row in question.at(question.recording.calls) if "requires_grad" in row.name]
    if any(row.tracked_in for row in calls):
        return refuted("it required grad before")
    return undecided(f"{question.ran}; whether somebody reads the gradient is not recorded")


def misses_parameters(question: Question) -> Answer:
    """GRD217: the steps find parameters that no backward reaches, for others are used in their place."""
    rows = [row for row in question.recording.parameters if row.steps and row.none == row.steps]
    if rows and question.hits:
        return confirmed(f"{counted(len(rows), 'tensor')} that the optimizer has got no gradient at any step")
    if question.level < 1:
        return undecided("what steps find is recorded from level 1 on")
    return undecided(f"{question.ran}; whose parameters an optimizer lacks is not recorded")


def follows_training(question: Question) -> Answer:
    """GRD223: what shares memory with what is not recorded."""
    return undecided(f"{question.ran}; which tensors share memory is not recorded")


def stays_frozen(question: Question) -> Answer:
    """GRD231: the flags were cleared, and the function returned here."""
    frozen = question.evidence("frozen here")
    flags = question.at(question.recording.calls, frozen) if frozen is not None else []
    cleared = sum(row.tracked_in - row.tracked_out for row in flags if "requires_grad" in row.name)
    if question.hits and cleared > 0:
        return confirmed(f"{counted(cleared, 'flag')} cleared before it returned here")
    return undecided(f"{question.ran}; that something was frozen before was not seen")


def trains_nothing(question: Question) -> Answer:
    """GRD225: backward or the optimizer raises for want of anything to train, or all steps are empty."""
    known = ("does not require grad", "empty parameter list")
    raised = question.recording.raised
    if raised is not None and question.hits != 0 and any(words in raised.message for words in known):
        return confirmed(f"raised `{shown_error(raised)}`")
    steps = question.recording.steps
    if question.hits and steps and all(row.empty == row.count for row in steps):
        return confirmed(f"none of {counted(sum(row.count for row in steps), 'step')} found a gradient")
    return undecided(f"{question.ran}; what an optimizer is given is not recorded")


CLAIMS: dict[str, Claim] = {
    "GRD217": misses_parameters,
    "GRD218": lost_its_gradient,
    "GRD219": raises_without_gradient,
    "GRD220": hides_parameters,
    "GRD222": is_empty,
    "GRD223": follows_training,
    "GRD225": trains_nothing,
    "GRD226": gradient_is_unused,
    "GRD231": stays_frozen,
}
"""The claim of each rule."""
