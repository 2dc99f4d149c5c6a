"""Claims about edits in place that torch refuses where they stand (GRD305, GRD309 to GRD312, GRD314, GRD315)."""

from __future__ import annotations

from collections.abc import Sequence

from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, refuted, undecided
from gradlint.runtime.claims.saved import CHANGED

OUT = ("don't support automatic differentiation",)
EXPANDED = ("refers to a single memory location",)
SEVERAL = ("returns multiple views",)
BLIND = ("created in no_grad mode", "created in inference mode")
HOOKED = ("BackwardHookFunction",)
VIEW = ("Can't detach views in-place",)
DETACHED = "has been detached in-place"


def _raised(question: Question, words: Sequence[str]) -> str | None:
    """Return the error with one of ``words`` that torch raised at the finding, or in the statement around it."""
    refused = [row for row in question.recording.calls if errors_of([row.errors], *words)]
    here = question.at(refused) or question.around(refused, question.span)
    error = next(iter(errors_of([row.errors for row in here], *words)), None)
    return error or next(filter(None, (question.raised(one) for one in words)), None)


def writes_to_out(question: Question) -> Answer:
    """GRD309: `out=` with tensors that require grad."""
    error = _raised(question, OUT)
    if error:
        return confirmed(f"raised `{error}`")
    calls = [row for row in question.at(question.recording.calls) if not row.errors]
    if calls and question.level >= 2:
        return refuted(f"{question.ran} and went through")
    return undecided(f"{question.ran} and raised nothing that was seen")


def edits_expanded(question: Question) -> Answer:
    """GRD310: an in-place edit of an expanded tensor."""
    error = _raised(question, EXPANDED)
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran}; what was written is not recorded")


def edits_one_of_several(question: Question) -> Answer:
    """GRD311: an in-place edit of one of several views."""
    error = _raised(question, SEVERAL)
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran}; nothing was raised")


def edits_blind_view(question: Question) -> Answer:
    """GRD312: an in-place edit of a view that was made with gradients off."""
    error = _raised(question, BLIND)
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran}; nothing was raised")


def edits_hooked(question: Question) -> Answer:
    """GRD315: an in-place edit of what a module with a backward hook has returned."""
    error = _raised(question, HOOKED)
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran}; nothing was raised")


def detaches(question: Question) -> Answer:
    """GRD314: `detach_` of a view, or of what a backward still needs."""
    error = _raised(question, VIEW)
    raised = question.recording.raised
    if error is None and raised is not None and DETACHED in raised.message:
        error = raised.message.splitlines()[0]
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran}; nothing was raised")


def goes_through_changed(question: Question) -> Answer:
    """GRD305: a backward through parameters that a step has changed."""
    rows = question.within(question.recording.backwards)
    errors = errors_of([row.errors for row in rows], CHANGED)
    if errors:
        return confirmed(f"raised `{errors[0]}`")
    if rows:
        return refuted(f"{question.ran} and found every tensor as it was saved")
    return undecided(f"{question.ran}; no backward was seen here")


CLAIMS: dict[str, Claim] = {
    "GRD305": goes_through_changed,
    "GRD309": writes_to_out,
    "GRD310": edits_expanded,
    "GRD311": edits_one_of_several,
    "GRD312": edits_blind_view,
    "GRD314": detaches,
    "GRD315": edits_hooked,
}
"""The claim of each rule."""
