"""Claims about ``requires_grad`` and leaves (GRD201, GRD202, GRD301)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gradlint.finding import Location
from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, refuted, undecided
from gradlint.runtime.recording import Assigned, Call

LEAF_EDITED = ("leaf Variable that requires grad", "don't support automatic differentiation", "cannot resize variables")
"""Parts of what torch raises when a leaf that requires grad is edited in place, or written to by ``out=``."""

SETS_FLAG = re.compile(r"requires_grad(_|\.__set__)?$")
"""The names of the calls that set ``requires_grad``, as torch's function modes have them."""


def freezes_nothing(question: Question) -> Answer:
    """GRD201: an assignment or call that leaves ``requires_grad`` of every parameter as it was, or is undone."""
    return _without_flags(question) or _by_flags(question)


def sets_nothing(question: Question) -> Answer:
    """GRD202: ``requires_grad`` misspelt, compared, overwritten, or given what is no bool."""
    answer = _without_flags(question)
    if answer is not None:
        return answer
    if question.hits and not _flags(question, question.span):
        return confirmed(f"{question.ran} and set no flag")
    return undecided(f"{question.ran} and set a flag")


def _without_flags(question: Question) -> Answer | None:
    """Decide by assignments and errors alone; None if a look at the flags that were set is needed."""
    assigned = question.at(question.recording.assigned)
    if assigned:
        return _judged(assigned)
    errors = [error for row in question.at(question.recording.calls) for error in row.errors]
    error = next(iter(errors), None) or question.raised()
    if error:
        return confirmed(f"raised `{error}`")
    if question.level < 1:
        return undecided("what becomes of `requires_grad` is recorded from level 1 on")
    return None


def _by_flags(question: Question) -> Answer:
    """Decide by the flags that were set here, and by what undid it."""
    flags = _flags(question, question.span)
    if not flags:
        if question.hits and not _freezes(question.recording.calls):
            return confirmed(f"{question.ran} and set no flag")
        return undecided(f"{question.ran} and set no flag itself; other code set some")
    count = counted(sum(row.count for row in flags), "flag")
    before, after = sum(row.tracked_in for row in flags), sum(row.tracked_out for row in flags)
    undone = question.evidence("made trainable again here")
    if undone is not None:
        again = sum(row.tracked_out for row in _flags(question, undone))
        if again:
            return confirmed(f"{count} set here, and {counted(again, 'tensor')} made trainable again afterwards")
        return undecided(f"{count} set here; what undoes it was not seen to run")
    if _makes_aliases(question):
        return confirmed(f"{count} set, each of a new tensor that is no parameter")
    if not before and not after:
        return confirmed(f"{count} set, and no tensor among them required grad before")
    if before and not after:
        return refuted(f"{counted(before, 'tensor')} required grad before, and none after")
    return undecided(f"{count} set; whose they are is not recorded")


def _flags(question: Question, span: Location) -> list[Call]:
    return [row for row in question.at(question.recording.calls, span) if SETS_FLAG.search(row.name)]


def _freezes(calls: Iterable[Call]) -> bool:
    return any(row.tracked_in and not row.tracked_out for row in calls if SETS_FLAG.search(row.name))


def _makes_aliases(question: Question) -> bool:
    return any(row.name in ("data.__get__", "detach") for row in question.at(question.recording.calls))


def edits_a_leaf(question: Question) -> Answer:
    """GRD301: an in-place edit of a leaf that requires grad, with gradients on."""
    calls = question.at(question.recording.calls)
    refused = [row for row in question.recording.calls if errors_of([row.errors], *LEAF_EDITED)]
    # `leaf[0] += 1` is found at `leaf[0]`, and refused as a whole.
    here = question.at(refused) or question.around(refused, question.span)
    error = next(iter(errors_of([row.errors for row in here], *LEAF_EDITED)), None)
    error = error or next(filter(None, (question.raised(words) for words in LEAF_EDITED)), None)
    if error:
        return confirmed(f"raised `{error}`")
    other = next(iter(errors_of([row.errors for row in calls], "")), None) or question.raised()
    if other:
        return undecided(f"another error came first: `{other}`")
    edits = [row for row in calls if row.count]
    if edits and question.level >= 2:
        return refuted(f"{counted(sum(row.count for row in edits), 'call')} of torch here went through")
    return undecided(f"{question.ran} and raised nothing that was seen; level 2 shows every call of torch")


def _judged(assigned: list[Assigned]) -> Answer:
    """Hold what was wanted against what the parameters were at the end."""
    told = [row for row in assigned if (row.trainable > 0) is not _wants_grad(row)]
    if told:
        return confirmed(*dict.fromkeys(_outcome(row) for row in told))
    return undecided(*dict.fromkeys(f"{_outcome(row)}, as wanted: other code saw to it" for row in assigned))


def _wants_grad(row: Assigned) -> bool:
    return row.value not in ("False", "0", "None", "0.0", "''")


def _outcome(row: Assigned) -> str:
    if not row.trainable:
        return f"`{row.owner}`: nothing behind it requires grad"
    verb = "still requires" if row.trainable == 1 else "still require"
    return f"`{row.owner}`: {row.trainable} of its parameters {verb} grad"


CLAIMS: dict[str, Claim] = {
    "GRD201": freezes_nothing,
    "GRD202": sets_nothing,
    "GRD301": edits_a_leaf,
}
"""The claim of each rule."""
