"""Real gradient bugs: where each one stands, and where the same code stands after its fix."""

from __future__ import annotations

import ast
import difflib
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlint.source.reading import plain

# First and last line, both included.
Span = tuple[int, int]
NEEDS = ("function", "class", "file", "project", "runtime")


class BugError(Exception):
    """A row describes no bug; the message says which row and why."""


@dataclass(frozen=True)
class Bug:
    """One bug, or for a trap one piece of code that only looks like it.

    ``spans`` are the lines in the parent commit where a report counts: the function first, then others. ``function``
    is its name, or empty for code outside of functions. ``fix`` is empty for a bug that nobody fixed. ``silenced``
    says whether the fix should silence the report.
    """

    id: str
    repository: str
    parent: str
    fix: str
    file: str
    function: str
    spans: tuple[Span, ...]
    category: str
    kind: str
    codes: tuple[str, ...]
    needs: str
    silenced: bool
    note: str


@dataclass(frozen=True)
class Definition:
    """A function in a file. ``start`` is its first decorator or ``line``, where it says ``def``."""

    name: str
    qualname: str
    start: int
    line: int
    end: int

    @property
    def span(self) -> Span:
        """Its lines, decorators included."""
        return (self.start, self.end)


def load(path: Path) -> list[Bug]:
    """Read JSON lines. Raises `BugError` for a row that is no bug and for an id that is there twice."""
    found: dict[str, Bug] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            bug = bug_of(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise BugError(f"{path.name}:{number}: no bug ({error!r})") from None
        if bug.id in found:
            raise BugError(f"{path.name}:{number}: {bug.id} is there twice")
        found[bug.id] = bug
    return list(found.values())


def bug_of(row: dict[str, Any]) -> Bug:
    """Return the bug that a decoded row describes. Raises `ValueError`, `KeyError` or `TypeError` if it is none."""
    spans = [(row["function_start"], row["function_end"]), *((start, end) for start, end in row.get("also", []))]
    if not all(type(start) is int and type(end) is int and 1 <= start <= end for start, end in spans):
        raise ValueError("lines are numbers from 1, the first before the last")
    if row["needs"] not in NEEDS:
        raise ValueError(f"needs is one of {', '.join(NEEDS)}")
    return Bug(
        id=row["id"],
        repository=row["repo"],
        parent=row["parent_commit"],
        fix=row.get("fix_commit") or "",
        file=row["file"],
        function=row.get("function") or "",
        spans=tuple(spans),
        category=row["category"],
        kind=row["kind"],
        codes=tuple(row["codes"]),
        needs=row["needs"],
        silenced=row["silenced"],
        note=row.get("note") or "",
    )


def places(bug: Bug, before: bytes) -> list[Span]:
    """The lines in the parent where a report counts: those of the data, and the decorators of the function."""
    home = home_of(bug, definitions(before))
    first, *others = bug.spans
    if home is not None and home.line == first[0]:
        first = (home.start, first[1])
    return [first, *others]


def counterparts(bug: Bug, number: int, before: bytes, after: bytes) -> list[Span]:
    """The lines in the fixed file that answer to span ``number`` of the bug.

    These are the function of the same qualified name, else every function of its name, else the lines that a diff
    sets against the old ones; none for lines that are gone.
    """
    old, new = definitions(before), definitions(after)
    span = bug.spans[number]
    home = home_of(bug, old) if number == 0 else next((each for each in old if is_span_of(span, each)), None)
    if home is not None:
        same = [each for each in new if each.qualname == home.qualname]
        twins = [each for each in old if each.qualname == home.qualname]
        if len(same) == len(twins) > 1:  # such as the getter and the setter of a property
            return [same[twins.index(home)].span]
        found = same or [each for each in new if each.name == home.name]
        if found:
            return [each.span for each in found]
    mapped = mapped_lines(lines_of(before), lines_of(after), span)
    return [mapped] if mapped else []


def home_of(bug: Bug, known: Iterable[Definition]) -> Definition | None:
    """The innermost function with the bug's name around its first line; None for code outside of functions."""
    start = bug.spans[0][0]
    around = [each for each in known if each.name == bug.function and each.start <= start <= each.end]
    return max(around, key=lambda each: each.start, default=None)


def is_span_of(span: Span, definition: Definition) -> bool:
    """Whether these are the lines of the function, with its decorators or without."""
    return span in (definition.span, (definition.line, definition.end))


def definitions(source: bytes) -> list[Definition]:
    """All functions of a file, from its top; none if it does not parse, as code for Python 2 may not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
    found: list[Definition] = []
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{prefix}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    start = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                    end = child.end_lineno or child.lineno
                    found.append(Definition(child.name, inner[:-1], start, child.lineno, end))
            waiting.append((child, inner))
    return sorted(found, key=lambda each: (each.start, -each.end))


def mapped_lines(before: list[str], after: list[str], span: Span) -> Span | None:
    """The lines of ``after`` that stand for lines ``span`` of ``before``; None if they were deleted."""
    first, last = span[0] - 1, min(span[1], len(before))
    touched: list[int] = []
    for tag, old, old_end, new, new_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        # What was inserted between two of the lines belongs to them, what was before the first does not.
        if old_end <= first or old >= last:
            continue
        if tag == "equal":
            touched += [new + max(first - old, 0), new + min(last, old_end) - old - 1]
        elif new < new_end:
            touched += [new, new_end - 1]
    return (min(touched) + 1, max(touched) + 1) if touched else None


def lines_of(source: bytes) -> list[str]:
    """The lines of a source file, without their ends."""
    return plain(source.decode(errors="replace")).split("\n")


def within(line: int, spans: Iterable[Span]) -> bool:
    """Whether the line lies in one of the spans."""
    return any(start <= line <= end for start, end in spans)
