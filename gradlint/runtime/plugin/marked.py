"""What the pytest marker ``gradlint`` asks of a test, and whether the test keeps to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gradlint.runtime.asserts import frozen_message
from gradlint.runtime.checks.cause import Cause, counted, message
from gradlint.runtime.checks.edits import edit_causes
from gradlint.runtime.checks.frozen import Frozen, tensors_of
from gradlint.runtime.recorder import LEVELS, record
from gradlint.runtime.recording import Forward, Recording

KNOWN: dict[str, type | tuple[type, ...]] = {
    "no_graph": bool,
    "no_saved_edit": bool,
    "frozen": (str, list, tuple),
    "level": int,
}
"""The marker's keywords, and what each takes."""


class MarkError(Exception):
    """What a marker names does not exist; the text says what."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What is asked of one test. ``frozen`` are names such as ``model.encoder``: a fixture, then attributes."""

    no_graph: bool = False
    no_saved_edit: bool = False
    frozen: tuple[str, ...] = ()
    level: int = 1


def marks_of(item: pytest.Item) -> Marks | None:
    """Return what the markers on ``item`` ask for, the closest first; None if it has none.

    Raises `pytest.UsageError` for a marker that cannot be understood.
    """
    found: dict[str, Any] = {}
    marked = False
    for mark in item.iter_markers("gradlint"):
        marked = True
        _require_known(item, mark)
        for name, value in mark.kwargs.items():
            found.setdefault(name, value)
    if not marked:
        return None
    frozen = found.get("frozen", ())
    level = max(found.get("level", 1), 3 if found.get("no_saved_edit") else 0)
    return Marks(
        found.get("no_graph", False),
        found.get("no_saved_edit", False),
        (frozen,) if isinstance(frozen, str) else tuple(frozen),
        level,
    )


def _require_known(item: pytest.Item, mark: pytest.Mark) -> None:
    known = ", ".join(KNOWN)
    if mark.args:
        raise pytest.UsageError(f"{item.nodeid}: the marker `gradlint` takes keywords only: {known}")
    for name, value in mark.kwargs.items():
        if name not in KNOWN:
            raise pytest.UsageError(f"{item.nodeid}: the marker `gradlint` has no `{name}`; it knows {known}")
        if not isinstance(value, KNOWN[name]) or (name == "level" and value not in LEVELS):
            raise pytest.UsageError(f"{item.nodeid}: the marker `gradlint` cannot take {name}={value!r}")


@contextmanager
def keeping(marks: Marks, fixtures: Mapping[str, Any]) -> Iterator[list[str]]:
    """Watch this block, and fill the list with a message for each of ``marks`` that it breaks, unless it raises.

    ``fixtures`` are the values of the test's fixtures by name. Raises `MarkError` if something that must stay frozen
    is not among them.
    """
    faults: list[str] = []
    frozen = {name: _frozen(name, fixtures) for name in marks.frozen}
    with record(marks.level) as recording, ExitStack() as stack:
        for watch in frozen.values():
            stack.enter_context(watch.watching())
        yield faults
    if marks.no_graph:
        faults += _unused_graphs(recording)
    if marks.no_saved_edit:
        faults += _saved_edits(recording)
    for name, watch in frozen.items():
        if watch.changes:
            faults.append(frozen_message(watch.changes, recording, f"`{name}`"))


def _frozen(name: str, fixtures: Mapping[str, Any]) -> Frozen:
    fixture, *attributes = name.split(".")
    if fixture not in fixtures:
        raise MarkError(f"frozen={name!r}: the test uses no fixture `{fixture}`")
    found = fixtures[fixture]
    for attribute in attributes:
        if not hasattr(found, attribute):
            raise MarkError(f"frozen={name!r}: `{type(found).__name__}` has no `{attribute}`")
        found = getattr(found, attribute)
    try:
        tensors_of(found)
    except TypeError as error:
        raise MarkError(f"frozen={name!r}: {error}") from None
    return Frozen(lambda: tensors_of(found, buffers=True))


def _unused_graphs(recording: Recording) -> Iterator[str]:
    rows = [row for row in recording.forwards if row.tracked > row.used]
    outermost = [row for row in rows if not any(_called_by(row, other) for other in rows)]
    if outermost:
        total = sum(row.tracked - row.used for row in outermost)
        causes = [Cause(row.place, _unused(row)) for row in outermost]
        help_text = "run it under `torch.no_grad()` or `torch.inference_mode()`"
        yield message(f"the test built {counted(total, 'graph')} that no backward used", causes, help_text)


def _called_by(row: Forward, other: Forward) -> bool:
    return row is not other and other.place in row.callers


def _unused(row: Forward) -> str:
    unused = row.tracked - row.used
    mode = "training" if row.training else "eval"
    return f"`{row.module}` in {mode} mode recorded {counted(unused, 'graph')} that no backward used"


def _saved_edits(recording: Recording) -> Iterator[str]:
    edits = [edit for edit in recording.edits if edit.used]
    if edits:
        help_text = "edit a clone, write it out of place, or edit it behind the backward"
        yield message("a saved tensor is edited in place before backward uses it", edit_causes(edits), help_text)
