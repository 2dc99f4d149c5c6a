"""From the byte spans of the intermediate representation to lines and columns for people.

Done only in a file that has a finding. A line ends at a line feed and nowhere else: the text comes from
`gradlint.source.reading.plain`, and `str.splitlines` would see ends that Python does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradlint.finding import Location

if TYPE_CHECKING:
    from gradlint.ir.events import Span

_WINDOW = 400


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line of a file as far as it is shown: ``text`` begins ``skipped`` characters into the line."""

    line: int
    text: str
    skipped: int = 0
    cut: bool = False


class Lines:
    """The lines of a text, by number from 1."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")

    def location(self, span: Span) -> Location:
        """Return the location of ``span``."""
        line, column, end_line, end_column = span
        start = Location(line, self._column(line, column), end_line, self._column(end_line, end_column))
        if (end_line, start.end_column) > (line, start.column):
            return start
        return Location(line, start.column, line, start.column + 1)

    def segment(self, span: Span) -> str:
        """Return the text of ``span`` on its first line."""
        line, start, end_line, end = span
        text = self._text(line)
        if text.isascii():
            return text[start:end] if end_line == line else text[start:]
        data = text.encode()
        return (data[start:end] if end_line == line else data[start:]).decode("utf-8", "replace")

    def point(self, location: Location) -> tuple[int, int]:
        """Return where ``location`` starts as syntax trees have it: the line, and the column in bytes from 0."""
        before = self._text(location.line)[: location.column - 1]
        return location.line, len(before.encode())

    def excerpt(self, location: Location) -> Excerpt:
        """Return the first line of ``location``, or a window of it if it is endless."""
        text = self._text(location.line)
        if len(text) <= _WINDOW:
            return Excerpt(location.line, text)
        skipped = max(0, location.column - 1 - _WINDOW // 4)
        return Excerpt(location.line, text[skipped : skipped + _WINDOW], skipped, skipped + _WINDOW < len(text))

    def _text(self, line: int) -> str:
        return self._lines[line - 1] if 0 < line <= len(self._lines) else ""

    def _column(self, line: int, offset: int) -> int:
        text = self._text(line)
        if text.isascii():
            return offset + 1
        return len(text.encode()[:offset].decode("utf-8", "replace")) + 1
