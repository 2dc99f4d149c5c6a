"""Tracebacks without our frames: as Python prints them for the program alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import TracebackType

import torch

from gradlint.runtime.frames import OURS

_TORCH = os.path.dirname(torch.__file__)
# What calls our loader and our modes, and what they call: these frames would not be there without.
_BESIDE = (
    "<frozen importlib",
    os.path.join(os.path.dirname(os.__file__), "importlib"),
    os.path.join(_TORCH, "overrides.py"),
    os.path.join(_TORCH, "_ops.py"),
)


def show(error: BaseException) -> None:
    """Print what ended the program as Python does: with the program's own ``sys.excepthook`` if it has one.

    Of `SystemExit` only a message is printed. The traceback of ``error`` is left without frames of ours.
    """
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        return
    for each in _chain(error):
        each.__traceback__ = without_ours(each.__traceback__)
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        sys.__excepthook__(type(error), error, error.__traceback__)


def without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback without frames of ours, and without those beside them that are there because of ours."""
    entries = list(_entries(traceback))
    ours = [_file(entry).startswith(OURS) for entry in entries]
    dropped = set[int]()
    for step in (1, -1):
        dropping = False
        for index in range(len(entries))[::step]:
            dropping = ours[index] or (dropping and _file(entries[index]).startswith(_BESIDE))
            dropped |= {index} if dropping else set()
    for index in sorted(dropped - {0}):
        # A function of torch that hands the call to a mode is called again by the mode.
        after = next((each for each in range(index, len(entries)) if each not in dropped), None)
        if after is not None and _is_same(entries[index - 1], entries[after]):
            dropped.add(index - 1)
    result: TracebackType | None = None
    for index in reversed(range(len(entries))):
        if index not in dropped:
            entry = entries[index]
            result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _is_same(one: TracebackType, other: TracebackType) -> bool:
    return one.tb_frame.f_code is other.tb_frame.f_code and _file(one).startswith(_TORCH)


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _file(entry: TracebackType) -> str:
    return entry.tb_frame.f_code.co_filename


def _chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and the exceptions that led to it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and not any(each is known for known in found):
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found
