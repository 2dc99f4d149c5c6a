"""Saying which line edited a tensor that was saved for backward."""

from __future__ import annotations

from collections.abc import Iterable

from gradlint.runtime.checks.cause import Cause
from gradlint.runtime.recording import Edit, Recording

# What torch (2.13) says when the version counter of a saved tensor has moved.
_TORCH_SAYS = "modified by an inplace operation"


def broken_by(error: Exception, recording: Recording) -> bool:
    """Tell whether ``error`` is torch's complaint about an edit of a saved tensor, and the recording has edits."""
    return isinstance(error, RuntimeError) and _TORCH_SAYS in str(error) and bool(recording.edits)


def edit_causes(edits: Iterable[Edit]) -> list[Cause]:
    """Return a cause for each edit: where it was made, whether torch notices, and where the tensor was saved."""
    return [
        Cause(edit.place, _does(edit), ((edit.saved_at, "saved for backward here"),))
        for edit in sorted(edits, key=lambda edit: not edit.silent)
    ]


def _does(edit: Edit) -> str:
    if not edit.silent:
        return f"`{edit.operation}` edits a saved tensor, and torch raises in the backward"
    times = "a backward" if edit.used == 1 else f"{edit.used} backwards"
    return f"`{edit.operation}` edits a saved tensor unnoticed by torch: {times} used the new values"
