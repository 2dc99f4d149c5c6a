"""Claims about graphs that live too long, or are walked once too often (GRD403 and its siblings)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import (
    Answer,
    Claim,
    Question,
    confirmed,
    errors_of,
    refuted,
    shown_error,
    undecided,
)

NO_GRAPH = "does not require grad"
"""Part of what backward raises without a graph."""
FREED = "backward through the graph a second time"
"""Part of what backward raises where what it needs was freed."""


def kept_after_backward(question: Question) -> Answer:
    """GRD403: what a backward walked, stored in each iteration."""
    calls = question.at(question.recording.calls) if question.level > 1 else []
    sums = [row for row in calls if row.tracked_in]
    if sums and not any(row.tracked_out for row in sums):
        return refuted("what was stored was not on the graph")
    source = question.evidence("backward here")
    rows = question.within(question.recording.backwards, source) if source is not None else []
    if not rows:
        return undecided(f"{question.ran}; the backward was not seen")
    count, leaves = sum(row.count for row in rows), sum(row.leaf_roots for row in rows)
    if leaves == count:
        return refuted(f"{counted(count, 'backward')} began at a leaf: there was no graph to keep")
    stored = question.hits
    if stored is None or stored < 2 or count - leaves < 2:
        return undecided("it ran once only: nothing could pile up")
    return confirmed(f"{counted(stored, 'value')} stored, of graphs that {counted(count, 'backward')} walked")


def in_running_state(question: Question) -> Answer:
    """GRD411: state that is updated with something on the graph."""
    calls = question.recording.calls
    source = question.evidence("on the graph")
    rows = [*question.at(calls), *(question.at(calls, source) if source is not None else ())]
    if question.level < 2 or not rows:
        return undecided(f"{question.ran}; all calls are recorded from level 2 on")
    tracked = sum(row.tracked_in or row.tracked_out for row in rows)
    if not tracked:
        return refuted(f"nothing in {counted(sum(row.count for row in rows), 'call')} here was on the graph")
    return confirmed(f"{counted(tracked, 'call')} here mixed something on the graph into the state")


def walked_twice(question: Question) -> Answer:
    """GRD401, GRD404: a backward over a graph that an earlier one has freed."""
    rows = question.within(question.recording.backwards)
    if question.evidence("kept here for the next call") is not None:
        rows = list(question.recording.backwards)
    bad = errors_of([row.errors for row in rows], FREED)
    error = next(iter(bad), None) or question.raised(FREED)
    raised = question.recording.raised
    if "create_graph" in question.finding.message and raised is not None and FREED in raised.message:
        error = shown_error(raised)  # in the pass through the gradient that was recorded here
    if error:
        return confirmed(f"backward raised `{error}`")
    other = next(iter(errors_of([row.errors for row in rows], "")), None) or question.raised()
    if other:
        return undecided(f"another error came first: `{other}`")
    count = sum(row.count for row in rows)
    if count > 1 and question.evidence("retained here") is None:
        return refuted(f"{counted(count, 'backward')} went through")
    return undecided(f"{question.ran}; {counted(count, 'backward')} of torch was called here")


def of_many_values(question: Question) -> Answer:
    """GRD408: backward on a tensor of many values."""
    return _raised(question, "only for scalar outputs", "real scalar outputs")


def made_not_called(question: Question) -> Answer:
    """GRD415: a loss class that is called with tensors: what comes back has no backward."""
    raised = question.recording.raised
    if error := question.raised("Boolean value of Tensor"):
        return confirmed(f"its tensors were taken for flags, which raised `{error}`")
    if raised is not None and "has no attribute" in raised.message:
        return confirmed(f"what it made was used as a tensor, which raised `{raised.type}: {raised.message}`")
    return undecided(f"{question.ran}; whether what it made is used as a tensor is not recorded")


def recorded_itself(question: Question) -> Answer:
    """GRD406: a backward that records itself, whose gradients nobody clears."""
    rows = question.within(question.recording.backwards)
    count = sum(row.count for row in rows)
    if not count:
        return undecided(f"{question.ran}; no backward of torch was called here")
    if question.recording.discarded or question.recording.stale:
        return undecided(f"{counted(count, 'backward')} recorded itself; gradients were cleared somewhere")
    return confirmed(f"{counted(count, 'backward')} recorded itself, and the gradients were not cleared")


def retained(question: Question) -> Answer:
    """GRD407: a graph that is retained and walked once only."""
    rows = question.within(question.recording.backwards)
    count = sum(row.count for row in rows)
    others = sum(row.count for row in question.recording.backwards) - count
    if not count:
        return undecided(f"{question.ran}; no backward of torch was called here")
    if others:
        return undecided(f"{counted(others, 'backward')} elsewhere may walk the same graphs")
    return confirmed(f"{counted(count, 'graph')} retained, and no other backward ran")


def saved_to_disk(question: Question) -> Answer:
    """GRD417: a value on the graph that is saved."""
    rows = question.recording.backwards
    if not rows:
        return undecided(f"{question.ran}; whether it was on the graph is not recorded")
    return confirmed(f"{question.ran}, and {counted(sum(row.count for row in rows), 'backward')} began at such values")


def made_too_late(question: Question) -> Answer:
    """GRD414: a leaf that is made after the forward."""
    source = question.evidence("backward here")
    rows = question.within(question.recording.backwards, source) if source is not None else []
    count = sum(row.count for row in rows)
    if not count:
        return undecided(f"{question.ran}; the backward was not seen")
    return confirmed(f"{question.ran}, and {counted(count, 'backward')} walked what had been computed before")


def switched_on(question: Question) -> Answer:
    """GRD418: anomaly detection switched on by a statement."""
    return confirmed(f"{question.ran}: the mode stays on from then on") if question.hits else undecided(question.ran)


def without_own_graph(question: Question) -> Answer:
    """GRD405: a gradient without a graph in a loss, or differentiated once more."""
    rows = question.within(question.recording.backwards)
    if not rows:
        return undecided(f"{question.ran}; no `autograd.grad` was seen here")
    count = sum(row.count for row in rows)
    source = question.evidence("backward here")
    passes = question.within(question.recording.backwards, source) if source is not None else []
    error = next(iter(errors_of([row.errors for row in question.recording.backwards], NO_GRAPH)), None)
    if error and any(question.evidence(words) is not None for words in ("returned here", "differentiated again here")):
        return confirmed(f"{counted(count, 'gradient')} computed without a graph, and a backward raised `{error}`")
    if not passes:
        return undecided(f"{counted(count, 'gradient')} computed without a graph; the backward was not seen")
    return confirmed(f"{counted(count, 'gradient')} computed without a graph, of a loss that was backwarded")


def _raised(question: Question, *words: str) -> Answer:
    """Answer by whether the backward here raised one of ``words``."""
    rows = question.within(question.recording.backwards)
    error = next(iter(errors_of([row.errors for row in rows], *words)), None) or question.raised(words[0])
    if error:
        return confirmed(f"backward raised `{error}`")
    count = sum(row.count for row in rows)
    return refuted(f"{counted(count, 'backward')} went through") if count else undecided(question.ran)


CLAIMS: dict[str, Claim] = {
    "GRD401": walked_twice,
    "GRD403": kept_after_backward,
    "GRD404": walked_twice,
    "GRD405": without_own_graph,
    "GRD406": recorded_itself,
    "GRD407": retained,
    "GRD408": of_many_values,
    "GRD411": in_running_state,
    "GRD414": made_too_late,
    "GRD415": made_not_called,
    "GRD417": saved_to_disk,
    "GRD418": switched_on,
}
"""The claim of each rule."""
