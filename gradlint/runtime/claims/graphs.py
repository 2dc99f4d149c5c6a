"""Claims about graphs: missing, useless, kept, faked (GRD101, GRD102, GRD208, GRD402)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, refuted, undecided
from gradlint.runtime.claims.tensors import SETS_FLAG
from gradlint.runtime.figures import size
from gradlint.runtime.recording import Forward, Mode

NO_GRAPH = "does not require grad"
"""Part of what backward raises without a graph: ``element 0 of tensors does not require grad and does not have a
grad_fn`` (torch 1.0 to 2.13)."""

FREED = "second time"
"""Part of what backward raises for a graph that was freed."""

MAKES_TENSOR = re.compile(r"^(tensor|as_tensor|asarray|new_tensor)$")
"""The names of the calls that make a new tensor of values."""

_NOT_WATCHED = "backward is recorded from level 1 on"


def without_graph(question: Question) -> Answer:
    """GRD101: backward on a value that was computed with gradients off."""
    rows = question.within(question.recording.backwards)
    count = sum(row.count for row in rows)
    bad = errors_of([row.errors for row in rows], NO_GRAPH)
    error = next(iter(bad), None) or question.raised(NO_GRAPH)
    if error:
        return confirmed(f"{counted(max(count, 1), 'backward')} here, which raised `{error}`")
    other = next(iter(errors_of([row.errors for row in rows], "")), None) or question.raised()
    if other:
        return undecided(f"another error came first: `{other}`")
    leaves = sum(row.leaf_roots for row in rows)
    if leaves:
        return undecided(f"{leaves} of {counted(count, 'backward')} began at a leaf: there was no graph behind it")
    if rows:
        return refuted(f"{counted(count, 'backward')} went through")
    return undecided(_NOT_WATCHED if question.level < 1 else f"{question.ran}; no backward of torch was called here")


def for_nothing(question: Question) -> Answer:
    """GRD102: a forward for evaluation that builds a graph nobody backwards."""
    rows = question.within(question.recording.forwards)
    if not rows:
        error = question.raised()
        return undecided(f"raised `{error}`" if error else f"{question.ran}; no module was called here")
    count, tracked, used = _sums(rows)
    if not tracked:
        modes = {row.mode for row in rows}
        why = "gradients were off in all of them" if Mode.ON not in modes else "nothing in them required grad"
        return refuted(f"{counted(count, 'forward')} built no graph: {why}")
    if used == tracked:
        return refuted(f"a backward went through {used} of {counted(tracked, 'forward')}")
    if used:
        return undecided(f"a backward went through {used} of {counted(tracked, 'forward')}, and not through the others")
    kept = sum(row.unused_bytes for row in rows)
    built = f"kept {size(kept)}" if kept else "built a graph"
    return confirmed(f"{counted(tracked, 'forward')} {built} that no backward used")


def kept_across_iterations(question: Question) -> Answer:
    """GRD402: results of a forward that nobody backwards, stored in each iteration."""
    source = question.evidence("recorded here") or question.span
    rows = question.within(question.recording.forwards, source) or question.within(question.recording.forwards)
    if not rows:
        return undecided(f"{question.ran}; the graph is not a module's, and only those of modules are followed")
    count, tracked, used = _sums(rows)
    if not tracked:
        return refuted(f"{counted(count, 'forward')} built no graph")
    if question.evidence("stored for good") is not None:
        return kept_by_object(question, rows)
    if used == tracked:
        return refuted(f"a backward went through {used} of {counted(tracked, 'forward')}")
    peak = max(row.peak for row in rows)
    held = sum(row.peak_bytes for row in rows)
    bytes_ = f", {size(held)}" if held else ""
    if peak > 1:
        return confirmed(f"{peak} graphs of {counted(tracked, 'forward')} were alive at once{bytes_}; {_used(used)}")
    if tracked > 1:
        return refuted(f"of the graphs of {counted(tracked, 'forward')} never more than one was alive")
    return undecided("one forward only: nothing could pile up")


def kept_by_object(question: Question, rows: Sequence[Forward]) -> Answer:
    """GRD402: the result of a forward in a constructor, which the object keeps."""
    error = question.raised(FREED)
    if error:
        return confirmed(f"a later backward raised `{error}`")
    alive = sum(row.peak for row in rows)
    if alive:
        return confirmed(f"{counted(alive, 'graph')} alive that no backward used")
    return undecided("a backward went through it once")


def resurrected(question: Question) -> Answer:
    """GRD208: a value without a graph that is made a leaf, so that backward ends there."""
    recording = question.recording
    source = question.evidence("backward here")
    rows = question.within(recording.backwards, source) if source is not None else []
    rows = rows or [row for row in recording.backwards if any(question.holds(place) for place in row.made)]
    count = sum(row.count for row in rows)
    leaves = sum(row.leaf_roots for row in rows)
    if leaves:
        return confirmed(f"{leaves} of {counted(count, 'backward')} began at a leaf: there was no graph behind it")
    if not rows:
        return undecided(_NOT_WATCHED if question.level < 1 else f"{question.ran}; the backward was not seen")
    calls = question.at(recording.calls)
    flags = [row for row in calls if SETS_FLAG.search(row.name)]
    if any(row.tracked_in for row in flags):
        return refuted("the value required grad already")
    made = sum(row.count for row in flags or calls if row.tracked_out or MAKES_TENSOR.search(row.name))
    if made:
        return confirmed(f"{counted(made, 'value')} without a graph made a leaf here, and backward ended there")
    return undecided(f"{counted(count, 'backward')} began at a graph; what it reached is not recorded")


def _sums(rows: Sequence[Forward]) -> tuple[int, int, int]:
    return sum(row.count for row in rows), sum(row.tracked for row in rows), sum(row.used for row in rows)


def _used(used: int) -> str:
    return f"a backward went through {used}" if used else "no backward used them"


CLAIMS: dict[str, Claim] = {
    "GRD101": without_graph,
    "GRD102": for_nothing,
    "GRD208": resurrected,
    "GRD402": kept_across_iterations,
}
"""The claim of each rule."""
