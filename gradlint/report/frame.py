"""The code frame: the lines that a finding and its evidence point at, with carets and words beneath."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from gradlint.finding import Finding, Location
from gradlint.report.sanitise import visible
from gradlint.source.positions import Excerpt

_WIDTH = 120
_LEAD = 30
_TAB = "    "
_CUT = "..."

Piece = tuple[str, str]
"""Some text and its role: one of the keys of `gradlint.report.terminal.STYLES`, or empty."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place to underline; ``primary`` is the finding's own."""

    path: str
    location: Location
    text: str
    primary: bool


def frame(finding: Finding, excerpts: Mapping[tuple[str, Location], Excerpt]) -> Iterator[list[Piece]]:
    """Yield the lines of the frame; none if no source is at hand."""
    marks = [mark for mark in _marks(finding) if (mark.path, mark.location) in excerpts]
    gutter = max((len(str(mark.location.line)) for mark in marks), default=0) + 1
    marks.sort(key=lambda mark: (mark.path != finding.path, mark.path, mark.location, not mark.primary))
    for path, in_file in groupby(marks, key=lambda mark: mark.path):
        if path != finding.path:
            yield [(" " * gutter + "::: ", "gutter"), (visible(path), "path")]
        last = 0
        for line, on_line in groupby(in_file, key=lambda mark: mark.location.line):
            yield from _between(path, last, line, gutter, excerpts)
            yield from _line(list(on_line), excerpts, gutter)
            last = line


def _marks(finding: Finding) -> list[_Mark]:
    """Return what to underline. Evidence at the finding's own place lends it its words."""
    steps = list(dict.fromkeys(finding.evidence))
    places = [(step.path != finding.path, step.path, step.location) for step in steps]
    # Out of the order of the source, only numbers tell the order of the story.
    numbered = places != sorted(places)
    own = ""
    marks: list[_Mark] = []
    for number, step in enumerate(steps, 1):
        text = f"{number}. {step.text}" if numbered else step.text
        if (step.path, step.location) == (finding.path, finding.location):
            own = text
        else:
            marks.append(_Mark(step.path, step.location, text, False))
    return [*marks, _Mark(finding.path, finding.location, own, True)]


def _between(
    path: str, last: int, line: int, gutter: int, excerpts: Mapping[tuple[str, Location], Excerpt]
) -> Iterator[list[Piece]]:
    """Yield what stands for the lines left out: the line itself if it is a single one."""
    if not last or line <= last + 1:
        return
    single = excerpts.get((path, Location(last + 1, 1, last + 1, 1)))
    if line == last + 2 and single is not None:
        yield _numbered(last + 1, gutter, _Row(single, 1).text)
    else:
        yield [(" " * (gutter - 2) + "...", "gutter")]


def _line(marks: list[_Mark], excerpts: Mapping[tuple[str, Location], Excerpt], gutter: int) -> Iterator[list[Piece]]:
    first = marks[0]
    row = _Row(excerpts[first.path, first.location], first.location.column)
    yield _numbered(first.location.line, gutter, row.text)
    for mark in marks:
        start, width = row.stretch(mark.location)
        role = "primary" if mark.primary else "evidence"
        carets = ("^" if mark.primary else "-") * width
        words = f" {visible(mark.text)}" if mark.text else ""
        yield [(" " * gutter + " | ", "gutter"), (" " * start, ""), (carets + words, role)]


def _numbered(line: int, gutter: int, text: str) -> list[Piece]:
    return [(f"{line:>{gutter}} |", "gutter"), (f" {text}" if text else "", "")]


class _Row:
    """A source line as shown: tabs spread, invisible characters made visible, cut to a width; and where each went."""

    def __init__(self, excerpt: Excerpt, column: int) -> None:
        left = max(0, column - 1 - excerpt.skipped - _LEAD) if len(excerpt.text) > _WIDTH else 0
        text = excerpt.text[left : left + _WIDTH]
        self._skipped = excerpt.skipped + left
        self._columns: list[int] = []
        shown = _CUT if self._skipped else ""
        width = len(shown)
        for character in text:
            self._columns.append(width)
            piece = _TAB if character == "\t" else visible(character)
            shown += piece
            width += len(piece) if len(piece) > 1 else _cells(character)
        self._columns.append(width)
        is_cut = excerpt.cut or left + _WIDTH < len(excerpt.text)
        self.text = shown + _CUT if is_cut else shown.rstrip()

    def stretch(self, location: Location) -> tuple[int, int]:
        """Return where on the line to begin underlining, and how far: to its end if the place goes on below."""
        start = self._column(location.column)
        end = self._columns[-1] if location.end_line > location.line else self._column(location.end_column)
        return start, max(1, end - start)

    def _column(self, column: int) -> int:
        return self._columns[min(max(column - 1 - self._skipped, 0), len(self._columns) - 1)]


def _cells(character: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
