"""The standard streams: ready for whatever we print, and as they were found for a program that we run."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO
from weakref import WeakKeyDictionary

_errors: WeakKeyDictionary[io.TextIOWrapper, str] = WeakKeyDictionary()


def prepare() -> None:
    """Make sure that whatever is printed can be: in any encoding, and to a stream that is not there at all."""
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            _errors.setdefault(stream, stream.errors or "strict")
            stream.reconfigure(errors="backslashreplace")


def put_back() -> None:
    """Let the streams treat what they cannot encode as they did before `prepare`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream in _errors:
            stream.reconfigure(errors=_errors[stream])


def second_output(divert: bool) -> TextIO:
    """Return a stream of our own to where standard output goes now.

    With ``divert`` whatever is written to standard output from then on, by this process and those that it starts,
    goes to standard error: until the process ends, since exit handlers print too.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        flush()
        ours = os.dup(1)
        if divert:
            os.dup2(2, 1)
    except (OSError, ValueError):  # closed
        ours = os.open(os.devnull, os.O_WRONLY)
    return open(ours, "w", encoding=encoding, errors="backslashreplace")


def flush() -> None:
    """Write out what standard output holds back, if the program has left it open."""
    with suppress(AttributeError, ValueError):
        sys.stdout.flush()


def drop_output(stream: TextIO | None = None) -> None:
    """Let go of an output whose reader has seen enough; Python would complain when it flushes what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
