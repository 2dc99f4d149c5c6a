"""Making edits in a text. Nothing here touches a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gradlint.finding import Edit, Fix, Location
from gradlint.source.parsing import require_valid
from gradlint.source.reading import NotReadable, plain

_LINE_END = re.compile(r"\r\n|\r|\n")
_MARK = "\ufeff"


class FixError(ValueError):
    """Edits that cannot be made: they overlap, lie outside of the text, or would leave something that is no Python."""


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return ``text`` with ``edits`` made, all of them, with the line ends that it has.

    Edits that are equal are made once; of several insertions at one place the first comes first. Raises `FixError`
    where edits overlap or lie outside of ``text``, and where the result is no Python.
    """
    changed = _Text(text).with_edits(list(dict.fromkeys(edits)))
    _require_python(changed)
    return changed


def select(text: str, fixes: Iterable[Fix]) -> tuple[str, list[Fix]]:
    """Make as many of ``fixes`` as go together; return the new text and the fixes that were made.

    Of two that overlap, or that insert different text at one place, the later is left out; so is one whose result
    is no Python.
    """
    lines = _Text(text)
    made: list[Fix] = []
    taken: list[Edit] = []
    current = text
    for fix in fixes:
        new = [edit for edit in dict.fromkeys(fix.edits) if edit not in taken]
        if any(_conflict(one, other) for one in new for other in taken):
            continue
        try:
            changed = lines.with_edits([*taken, *new])
            _require_python(changed)
        except FixError:
            continue
        current, taken = changed, [*taken, *new]
        made.append(fix)
    return current, made


class _Text:
    """A text by lines and columns, as findings count them."""

    def __init__(self, text: str) -> None:
        self._mark = _MARK if text.startswith(_MARK) else ""
        self._text = text.removeprefix(_MARK)
        ends = list(_LINE_END.finditer(self._text))
        self._starts = [0, *(end.end() for end in ends)]
        self._ends = [*(end.start() for end in ends), len(self._text)]
        self._break = ends[0].group() if ends else "\n"

    def with_edits(self, edits: Sequence[Edit]) -> str:
        spans = sorted((*self._span(edit.location), index) for index, edit in enumerate(edits))
        parts, position = [self._mark], 0
        for start, end, index in spans:
            if start < position:
                raise FixError(f"two edits overlap in line {edits[index].location.line}")
            parts += (self._text[position:start], edits[index].text.replace("\n", self._break))
            position = end
        return "".join([*parts, self._text[position:]])

    def _span(self, location: Location) -> tuple[int, int]:
        start, end = self._offset(location.line, location.column), self._offset(location.end_line, location.end_column)
        if start > end:
            raise FixError(f"an edit in line {location.line} ends before it begins")
        return start, end

    def _offset(self, line: int, column: int) -> int:
        if not 0 < line <= len(self._starts) or not 0 < column <= self._ends[line - 1] - self._starts[line - 1] + 1:
            raise FixError(f"there is no column {column} in line {line}")
        return self._starts[line - 1] + column - 1


def _conflict(one: Edit, other: Edit) -> bool:
    first, second = sorted((one.location, other.location))
    begin, end = (second.line, second.column), (first.end_line, first.end_column)
    if (first.line, first.column) == end == begin:
        return (second.end_line, second.end_column) == begin
    return begin < end


def _require_python(text: str) -> None:
    try:
        require_valid(plain(text.removeprefix(_MARK)))
    except NotReadable as error:
        raise FixError(f"the result is no Python: {error.problem}") from None
