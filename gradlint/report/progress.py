"""The bar that shows, on a terminal and only there, that a long run is getting somewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from gradlint.report.terminal import has_colour

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 1.0
_EVERY = 0.1


@contextmanager
def progress(stream: TextIO | None, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give the function to call with files done and files in all; None where nobody looks. The bar leaves no trace."""
    if stream is None or quiet or not has_colour(stream):
        yield None
        return
    bar = _Bar(stream)
    try:
        yield bar.advance
    finally:
        bar.stop()


class _Bar:
    """Appears after a second. It draws when it is told of progress: a thread of its own would forbid to fork."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = time.monotonic() + _PATIENCE
        self._progress: Progress | None = None

    def advance(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` files are done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        if self._progress is None:
            self._progress = self._begin()
            self._progress.add_task("Checking", total=total)
        self._progress.update(self._progress.task_ids[0], completed=done, total=total)
        self._progress.refresh()

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()

    def _begin(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("Checking"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(file=self._stream), auto_refresh=False, transient=True)
        bar.start()
        return bar
