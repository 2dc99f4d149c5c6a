"""Claims about values that leave the graph on their way to a loss, and leaves that are none (GRD203 to GRD227)."""

from __future__ import annotations

from collections.abc import Sequence

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, undecided
from gradlint.runtime.recording import Way

NO_GRAPH = ("does not require grad", "has no attribute 'backward'", "can be implicitly created only for")
"""Parts of what is raised when backward begins at a value without a graph, or at a number."""
NO_ARRAY = "numpy()"
"""Part of what torch raises when numpy is given a tensor that requires grad."""


def _went_off(question: Question, ways: Sequence[Way]) -> Answer:
    """Decide by the backward that found no graph, and by what left it here."""
    recording = question.recording
    source = question.evidence("backward here")
    rows = question.within(recording.backwards, source) if source is not None else []
    error = next(iter(errors_of([row.errors for row in rows], *NO_GRAPH)), None)
    if error is None and recording.raised is not None and not rows:
        message = recording.raised.message
        error = message.splitlines()[0] if any(words in message for words in NO_GRAPH) else None
    if error:
        return confirmed(f"backward raised `{error}`")
    cuts = [row for row in question.at(recording.cuts) if row.way in ways and row.parameters]
    if cuts:
        behind = len({name for row in cuts for name in row.parameters})
        count = counted(sum(row.count for row in cuts), "value")
        return confirmed(f"{count} with {counted(behind, 'parameter')} behind left the graph here")
    return undecided(f"{question.ran}; nothing that depends on parameters was seen to leave the graph here")


def refused_by_numpy(question: Question) -> Answer:
    """GRD210: an array is made of a tensor that requires grad, or of what the loss is computed from."""
    calls = question.at(question.recording.calls)
    error = next(iter(errors_of([row.errors for row in calls], NO_ARRAY)), None) or question.raised(NO_ARRAY)
    error = error or (question.raised("keyword argument 'axis'") if "np." in question.finding.message else None)
    if error:
        return confirmed(f"raised `{error}`")
    return _went_off(question, (Way.NUMPY, Way.DETACH, Way.DATA))


def becomes_a_number(question: Question) -> Answer:
    """GRD209: a value becomes a number that goes into the loss."""
    return _went_off(question, (Way.ITEM, Way.NUMPY, Way.DETACH))


def reads_data(question: Question) -> Answer:
    """GRD211: ``.data`` is read on the way to the loss."""
    return _went_off(question, (Way.DATA,))


def is_copied(question: Question) -> Answer:
    """GRD207: a copy without a graph goes into the loss."""
    return _went_off(question, (Way.COPY, Way.ITEM, Way.DETACH))


def has_no_derivative(question: Question) -> Answer:
    """GRD213: what the loss is computed from has no derivative."""
    return _went_off(question, ())


def refuses_the_flag(question: Question) -> Answer:
    """GRD203 and GRD204: ``requires_grad`` is asked of integers, or set on a computed tensor."""
    words = ("floating point", "only change requires_grad flags of leaf", "you can only change requires_grad")
    calls = question.at(question.recording.calls)
    error = next(iter(errors_of([row.errors for row in calls], *words)), None)
    error = error or next(filter(None, (question.raised(each) for each in words)), None)
    return confirmed(f"raised `{error}`") if error else undecided(f"{question.ran} and raised nothing of the kind")


def is_flat(question: Question) -> Answer:
    """GRD214: the gradient of what the loss is computed from is zero."""
    return _went_off(question, (Way.ZERO,))


def is_detached(question: Question) -> Answer:
    """GRD212 and GRD227: all of the loss is computed from something detached, or drawn without a gradient."""
    return _went_off(question, (Way.DETACH, Way.MODE))


def is_no_parameter(question: Question) -> Answer:
    """GRD206: what is computed from a new parameter is stored in its place."""
    own = ("Parameter", "requires_grad_", "to", "cuda", "cpu")
    rows = [row for row in question.at(question.recording.calls) if row.tracked_out and row.name not in own]
    if rows:
        return confirmed(f"`{rows[-1].name}` made a tensor of the parameter")
    return undecided(f"{question.ran}; calls that make a tensor of a parameter are recorded from level 2 on")


def is_no_leaf(question: Question) -> Answer:
    """GRD205 and GRD221: a gradient is read that is None, or an optimizer refuses what is no leaf."""
    error = question.raised("non-leaf") or question.raised("'NoneType'")
    if error:
        return confirmed(f"raised `{error}`")
    return undecided(f"{question.ran}; whether a gradient was there is not recorded")


CLAIMS: dict[str, Claim] = {
    "GRD203": refuses_the_flag,
    "GRD204": refuses_the_flag,
    "GRD205": is_no_leaf,
    "GRD206": is_no_parameter,
    "GRD207": is_copied,
    "GRD209": becomes_a_number,
    "GRD210": refused_by_numpy,
    "GRD211": reads_data,
    "GRD212": is_detached,
    "GRD213": has_no_derivative,
    "GRD214": is_flat,
    "GRD221": is_no_leaf,
    "GRD227": is_detached,
}
"""The claim of each rule."""
