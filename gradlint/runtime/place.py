"""Where in the user's code something happened, in the coordinates of findings."""

from __future__ import annotations

import dis
import linecache
import os
from dataclasses import dataclass
from types import CodeType

from gradlint.finding import Location

UNKNOWN = "<unknown>"

_ENTERS = frozenset({"BEFORE_WITH", "BEFORE_ASYNC_WITH"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A stretch of a file and the function around it.

    ``path`` is absolute, or what the code was compiled as (``<stdin>``). Columns count characters from 1, as in
    findings; they are 0 where the interpreter keeps none (Python 3.10, ``-X no_debug_ranges``).
    """

    path: str
    location: Location
    function: str = ""

    @property
    def line(self) -> int:
        """The first line, from 1; 0 if nothing is known."""
        return self.location.line

    @property
    def has_columns(self) -> bool:
        """Whether the interpreter knew more than the line."""
        return self.location.column > 0

    def __str__(self) -> str:
        """Write it as a compiler does: ``path:line:column``, relative to the current folder if it lies below."""
        column = f":{self.location.column}" if self.has_columns else ""
        return f"{shown_path(self.path)}:{self.line}{column}"


NOWHERE = Place(UNKNOWN, Location(0, 0, 0, 0))
"""Stands where no frame of the user's was on the stack, as in the threads that run backward on a GPU."""


def shown_path(path: str) -> str:
    """Return ``path`` relative to the current folder if it lies below it."""
    if not os.path.isabs(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def place_of(code: CodeType, last_instruction: int) -> Place:
    """Return the place of the instruction at byte offset ``last_instruction`` (a frame's ``f_lasti``) of ``code``."""
    path = code.co_filename if code.co_filename.startswith("<") else os.path.abspath(code.co_filename)
    function = getattr(code, "co_qualname", code.co_name)
    return Place(path, _location(code, last_instruction, path), function)


def _location(code: CodeType, last_instruction: int, path: str) -> Location:
    positions = _positions(code, _made_for_with(code, last_instruction))
    if positions is None:
        line = _line(code, last_instruction)
        return Location(line, 0, line, 0)
    line, end_line, column, end_column = positions
    return Location(line, _characters(path, line, column) + 1, end_line, _characters(path, end_line, end_column) + 1)


def _made_for_with(code: CodeType, last_instruction: int) -> int:
    """Return the instruction that made the context manager, if this one enters it.

    Python 3.11 gives the instruction that enters the extent of the whole ``with`` statement.
    """
    before = last_instruction
    for instruction in dis.get_instructions(code):
        if instruction.offset == last_instruction:
            return before if instruction.opname in _ENTERS else last_instruction
        if instruction.offset > last_instruction:
            break
        before = instruction.offset
    return last_instruction


def _positions(code: CodeType, last_instruction: int) -> tuple[int, int, int, int] | None:
    """Return line, end line, column and end column (bytes from 0); None on Python 3.10 and without debug ranges."""
    table = getattr(code, "co_positions", None)
    if table is None:
        return None
    for index, found in enumerate(table()):
        if index == last_instruction // 2:
            return None if None in found else found
    return None


def _line(code: CodeType, last_instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= last_instruction < end and line is not None:
            return line
    return code.co_firstlineno


def _characters(path: str, line: int, column: int) -> int:
    """Turn a column that counts UTF-8 bytes, as CPython's do, into one that counts characters."""
    text = linecache.getline(path, line)
    if not text or text.isascii():
        return column
    return len(text.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))
