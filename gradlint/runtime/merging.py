"""``merge()``: several recordings of one program, as if one process had made them all."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from gradlint.runtime.recording import (
    Assigned,
    Backward,
    Call,
    Compiled,
    Cut,
    Discarded,
    Edit,
    Forward,
    Left,
    Made,
    Mode,
    Parameter,
    Raised,
    Recording,
    Row,
    Saved,
    Stale,
    Step,
    Switch,
)

_T = TypeVar("_T", bound=Row | Parameter)
_V = TypeVar("_V")

ADDED: dict[type, tuple[str, ...]] = {
    Switch: ("count",),
    Made: ("count", "entered"),
    Left: ("count",),
    Forward: ("count", "tracked", "used", "unused_bytes"),
    Call: ("count", "tracked_in", "tracked_out"),
    Backward: ("count", "leaf_roots"),
    Cut: ("count", "entered", "escaped"),
    Saved: ("count", "bytes"),
    Edit: ("count", "used"),
    Assigned: ("count",),
    Step: ("count", "empty"),
    Stale: ("count",),
    Discarded: ("count", "emptied"),
    Compiled: ("count",),
    Parameter: ("steps", "none", "zero", "filled"),
}
"""What is summed over the processes: how often something happened."""

LARGEST: dict[type, tuple[str, ...]] = {
    Forward: ("alive", "peak", "peak_bytes"),
    Saved: ("peak_bytes", "alive_bytes"),
    Cut: ("partial",),
    Assigned: ("trainable",),
    Stale: ("parameters",),
    Discarded: ("parameters",),
    Parameter: ("norm",),
}
"""Of what the largest counts: each process has a memory and a model of its own."""

UNITED: dict[type, tuple[str, ...]] = {Call: ("errors",), Backward: ("errors", "made")}
"""What is put together, once each."""

_LISTS = (
    *("switches", "made", "left", "forwards", "calls", "backwards", "cuts", "saved", "edits", "assigned", "steps"),
    *("stale", "discarded", "parameters", "compiled"),
)
# How gloo, NCCL and the stores of torch.distributed say that another rank is gone.
_LOST = re.compile(r"Dist(Backend|Network|Store)Error|gloo|NCCL|by peer|Broken pipe|Socket Timeout|TCPStore")
_FURTHEST = (Mode.ON, Mode.OFF, Mode.INFERENCE)


def merge(recordings: Sequence[Recording]) -> Recording:
    """Return one recording for all processes, in the order of their ranks.

    Rows that differ only in their counts become one: how often is summed, what was alive at one time is that of the
    process with the most. `Recording.ranks` is summed, the time is the longest, the modes are the furthest from *on*,
    and the exception is that of the first rank that raised one on its own account: when one fails, the others raise
    that they lost it. Raises `ValueError` if there are no recordings.
    """
    if not recordings:
        raise ValueError("there are no recordings to merge")
    first = recordings[0]
    rows: dict[str, Any] = {
        name: _rows(row for recording in recordings for row in getattr(recording, name)) for name in _LISTS
    }
    return replace(
        first,
        ranks=sum(each.ranks for each in recordings),
        seconds=max(each.seconds for each in recordings),
        level=min(each.level for each in recordings),
        devices=_once(name for each in recordings for name in each.devices),
        notes=_once(note for each in recordings for note in each.notes),
        mode_before=max((each.mode_before for each in recordings), key=_FURTHEST.index),
        mode_after=max((each.mode_after for each in recordings), key=_FURTHEST.index),
        raised=_cause([each.raised for each in recordings if each.raised]),
        **rows,
    )


def _cause(raised: Sequence[Raised]) -> Raised | None:
    """Return the first exception that tells of more than a lost connection, or else the first."""
    return next((each for each in raised if not _LOST.search(f"{each.type} {each.message}")), next(iter(raised), None))


def _rows(rows: Iterable[_T]) -> tuple[_T, ...]:
    """Add up rows of one class that are equal but for their counts; the order is that of their first one."""
    found: dict[tuple[object, ...], _T] = {}
    for row in rows:
        key = _key(row)
        found[key] = _added(found[key], row) if key in found else row
    return tuple(found.values())


def _key(row: Row | Parameter) -> tuple[object, ...]:
    kind = type(row)
    counts = (*ADDED[kind], *LARGEST.get(kind, ()), *UNITED.get(kind, ()))
    return tuple(getattr(row, each.name) for each in fields(row) if each.name not in counts)


def _added(one: _T, other: _T) -> _T:
    kind = type(one)
    values: dict[str, Any] = {}
    for name in ADDED[kind]:
        values[name] = _if_known(operator.add, getattr(one, name), getattr(other, name))
    for name in LARGEST.get(kind, ()):
        values[name] = _if_known(max, getattr(one, name), getattr(other, name))
    for name in UNITED.get(kind, ()):
        values[name] = _once((*getattr(one, name), *getattr(other, name)))
    return replace(one, **values)


def _if_known(joined: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """Join two counts; what was not counted in one of the processes (None) is not known of both."""
    return None if one is None or other is None else joined(one, other)


def _once(values: Iterable[_V]) -> tuple[_V, ...]:
    return tuple(dict.fromkeys(values))
