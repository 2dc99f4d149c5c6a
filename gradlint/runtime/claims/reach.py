"""Claims about graphs that reach where no gradient is meant to go (GRD409, GRD410 and their siblings)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.graphs import NO_GRAPH
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

NOT_USED = "appears to not have been used in the graph"
"""Part of what `autograd.grad` raises about an input that the output does not depend on."""


def through_opponent(question: Question) -> Answer:
    """GRD409: a pass for one player that goes through the other."""
    made, walked = question.evidence("made here"), question.evidence("goes through it")
    forwards = question.within(question.recording.forwards, made) if made is not None else []
    passes = question.within(question.recording.backwards, walked) if walked is not None else []
    if not forwards or not passes:
        return undecided(f"{question.ran}; the forward or the backward was not seen")
    tracked = sum(row.tracked for row in forwards)
    if not tracked:
        return refuted(f"{counted(sum(row.count for row in forwards), 'forward')} built no graph to go through")
    count = sum(row.count for row in passes)
    return confirmed(f"{counted(count, 'backward')} of what {counted(tracked, 'forward')} made with a graph")


def attached_target(question: Question) -> Answer:
    """GRD410: a target on the graph of what learns from it."""
    made = question.evidence("on the graph since here")
    calls = question.at(question.recording.calls) if question.level > 1 else []
    forwards = question.within(question.recording.forwards, made) if made is not None else []
    tracked = sum(row.tracked for row in forwards) or sum(row.tracked_in or row.tracked_out for row in calls)
    if tracked:
        return confirmed(f"{counted(tracked, 'value')} on the graph in what should be a number")
    if forwards:
        return refuted(f"{counted(sum(row.count for row in forwards), 'forward')} built no graph")
    return undecided(f"{question.ran}; whether it was on the graph was not seen")


def asked_in_vain(question: Question) -> Answer:
    """GRD412: a gradient that is not there, or that nobody takes."""
    rows = question.within(question.recording.backwards)
    error = next(iter(errors_of([row.errors for row in rows], NOT_USED)), None) or raised_around(question)
    if error:
        return confirmed(f"it raised `{error}`")
    return confirmed(f"{question.ran}, and nothing else did with it") if question.hits else undecided(question.ran)


def raised_around(question: Question) -> str | None:
    """The error that the call around the finding raised for want of a gradient."""
    raised = question.recording.raised
    if raised is None or NOT_USED not in raised.message:
        return None
    lines = {place.line for place in raised.frames if place.path == question.path}
    return shown_error(raised) if question.span.line in lines else None


def handed_out(question: Question) -> Answer:
    """GRD419: an item of a dataset on the graph."""
    made = question.evidence("put on the graph here")
    spans = [question.span, *([made] if made is not None else [])]
    forwards = [row for span in spans for row in question.within(question.recording.forwards, span)]
    calls = [row for span in spans for row in question.at(question.recording.calls, span)] if question.level > 1 else []
    tracked = sum(row.tracked for row in forwards) + sum(row.tracked_in or row.tracked_out for row in calls)
    if tracked:
        return confirmed(f"{counted(tracked, 'call')} put what is handed out on the graph")
    if forwards or calls:
        return refuted("nothing of what is handed out was on the graph")
    return undecided(f"{question.ran}; what put it on the graph was not seen")


def from_a_constant(question: Question) -> Answer:
    """GRD420: a backward that starts from a constant."""
    source = question.evidence("backward here")
    rows = question.within(question.recording.backwards, source) if source is not None else []
    error = next(iter(errors_of([row.errors for row in rows], NO_GRAPH)), None)
    raised = question.recording.raised
    if error is None and question.hits and raised is not None and NO_GRAPH in raised.message:
        error = shown_error(raised)
    if error and question.hits:
        return confirmed(f"{question.ran}, and backward raised `{error}`")
    leaves = sum(row.leaf_roots for row in rows)
    if leaves and question.hits:
        return confirmed(f"{question.ran}, and {counted(leaves, 'backward')} began at a leaf")
    return undecided(f"{question.ran}; no backward from it was seen")


CLAIMS: dict[str, Claim] = {
    "GRD409": through_opponent,
    "GRD410": attached_target,
    "GRD412": asked_in_vain,
    "GRD419": handed_out,
    "GRD420": from_a_constant,
}
"""The claim of each rule."""
