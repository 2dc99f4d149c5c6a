"""The claims about edits of what was saved for backward (GRD302, GRD303, GRD307)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, refuted, undecided

CHANGED = "modified by an inplace operation"
"""Part of what backward raises when a saved tensor has another version than when it was saved."""


def edits_what_is_saved(question: Question) -> Answer:
    """GRD302: an edit in place of a tensor that a recorded operation saved, before its backward."""
    recording = question.recording
    edits = question.within(recording.edits)
    used = [row for row in edits if row.used]
    if used:
        return confirmed(
            *(
                f"`{row.operation}` edited {counted(row.count, 'tensor')} saved at {row.saved_at}, "
                f"and {counted(row.used, 'backward')} used the edited values"
                for row in used
            )
        )
    errors = errors_of([row.errors for row in recording.backwards], CHANGED)
    if recording.raised is not None and CHANGED in recording.raised.message:
        errors.append(recording.raised.message)
    if edits:
        count = sum(row.count for row in edits)
        return undecided(f"edited {counted(count, 'tensor')} that had been saved; no backward used the edited values")
    if question.level < 3:
        raised = " (a backward raised that a saved tensor was modified)" if errors else ""
        return undecided(f"{question.ran}{raised}; edits of saved tensors are recorded at level 3")
    refused = next(iter(errors_of([row.errors for row in question.at(recording.calls)], "")), None) or question.raised()
    if refused:
        return undecided(f"another error came first: `{refused}`")
    if errors:
        return undecided(
            f"{question.ran}; a backward raised that a saved tensor was modified, and the edit was not seen"
        )
    if question.hits:
        return refuted(f"{question.ran} and edited nothing that was saved for backward")
    return undecided("it is not known whether this ran")


def edits_unseen(question: Question) -> Answer:
    """GRD303: an edit that torch does not count of a tensor that a recorded operation saved, before its backward."""
    step = question.evidence("its parameters are changed here")
    edits = question.within(question.recording.edits, step)
    used = [row for row in edits if row.used]
    if used:
        return confirmed(
            *(f"`{row.operation}` edited {counted(row.count, 'tensor')} saved at {row.saved_at}" for row in used),
            f"and {counted(sum(row.used for row in used), 'backward')} used the edited values",
        )
    return undecided(f"{question.ran}; what is written through an array is not recorded")


CLAIMS: dict[str, Claim] = {"GRD302": edits_what_is_saved, "GRD303": edits_unseen, "GRD307": edits_what_is_saved}
"""The claims of these rules."""
