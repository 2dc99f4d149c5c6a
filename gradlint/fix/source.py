"""The text of a file as fixes see it: by line, by syntax tree and by token.

Spans are those of the intermediate representation and of `ast`: lines from 1, columns in UTF-8 bytes from 0.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from gradlint.finding import Edit, Location
from gradlint.source import parsing
from gradlint.source.reading import NotReadable

if TYPE_CHECKING:
    from gradlint.facts import Elsewhere
    from gradlint.ir.events import Span

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPE = (*FUNCTION, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_OPENS = frozenset({"STRING", "FSTRING_START", "TSTRING_START"})
_CLOSES = frozenset({"STRING", "FSTRING_END", "TSTRING_END"})

_Node = TypeVar("_Node", bound=ast.AST)


class NoFix(Exception):
    """There is no correct edit here, and why. Not an error: the finding is reported without a fix."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A statement, the suite it stands in, its position there, and what is around it, outermost first."""

    node: ast.stmt
    suite: list[ast.stmt]
    index: int
    around: tuple[ast.AST, ...]

    @property
    def function(self) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The innermost function around it."""
        return next((node for node in reversed(self.around) if isinstance(node, FUNCTION)), None)

    def rest(self) -> list[ast.stmt]:
        """The statements behind it in its suite."""
        return self.suite[self.index + 1 :]


def here(where: Span | Elsewhere) -> Span:
    """Return the span of a place in the file that is mended. Raises `NoFix` for a place in another file."""
    if len(where) == 2:
        raise NoFix("it takes an edit of another file")
    return where


class Source:
    """The text of one file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.split("\n")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of all of the file. Raises `NoFix` if it is too deep to be walked."""
        try:
            return parsing.parse(self.text)
        except NotReadable as error:
            raise NoFix(error.problem) from None

    @cached_property
    def bound(self) -> frozenset[str]:
        """All names that anything but an import of torch binds, anywhere in the file."""
        return frozenset(
            name
            for node in ast.walk(self.tree)
            for name in (foreign(node) if isinstance(node, (ast.Import, ast.ImportFrom)) else bound(node))
        )

    @cached_property
    def level(self) -> str:
        """What one more level of indentation adds to the left of a line."""
        for node in ast.walk(self.tree):
            if isinstance(node, (*FUNCTION, ast.For, ast.With, ast.If)) and node.body[0].lineno > node.lineno:
                outer, inner = self.indent(node.lineno), self.indent(node.body[0].lineno)
                if len(inner) > len(outer) and inner.startswith(outer):
                    return inner[len(outer) :]
        return "    "

    # -- text ----------------------------------------------------------------------------------------------

    def line(self, number: int) -> str:
        """The line of this number, without its end."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def indent(self, number: int) -> str:
        """What stands in front of the first word of a line."""
        line = self.line(number)
        return line[: len(line) - len(line.lstrip())]

    def cut(self, span: Span) -> str:
        """The text of ``span``."""
        line, column, end_line, end_column = span
        if line == end_line:
            return self._between(line, column, end_column)
        middle = self._lines[line : end_line - 1]
        return "\n".join([self._between(line, column, None), *middle, self._between(end_line, 0, end_column)])

    def _between(self, number: int, start: int, end: int | None) -> str:
        return self.line(number).encode()[start:end].decode()

    def of(self, node: ast.AST) -> str:
        """The text of ``node``."""
        return self.cut(span_of(node))

    # -- edits ---------------------------------------------------------------------------------------------

    def replace(self, span: Span, text: str) -> Edit:
        """The edit that puts ``text`` in the place of ``span``."""
        line, column, end_line, end_column = span
        return Edit(Location(line, self._column(line, column), end_line, self._column(end_line, end_column)), text)

    def insert(self, line: int, column: int, text: str) -> Edit:
        """The edit that inserts ``text`` in front of the byte at ``column``."""
        return self.replace((line, column, line, column), text)

    def behind(self, node: ast.AST, text: str) -> Edit:
        """The edit that inserts ``text`` right behind ``node``."""
        _, _, line, column = span_of(node)
        return self.insert(line, column, text)

    def delete_lines(self, first: int, last: int) -> Edit:
        """The edit that takes out whole lines."""
        if last < len(self._lines):
            return Edit(Location(first, 1, last + 1, 1), "")
        return Edit(Location(first, 1, last, len(self.line(last)) + 1), "")

    def _column(self, number: int, offset: int) -> int:
        return len(self._between(number, 0, offset)) + 1

    # -- syntax --------------------------------------------------------------------------------------------

    def path(self, span: Span) -> tuple[ast.AST, ...]:
        """The nodes that hold ``span``, from the module inwards; what an f-string holds is not looked into.

        The positions of nodes inside f-strings are wrong before Python 3.12 (cpython#94869 and others).
        """
        path: list[ast.AST] = [self.tree]
        while not isinstance(path[-1], ast.JoinedStr):
            inner = next((child for child in children(path[-1]) if _holds(extent(child), span)), None)
            if inner is None:
                break
            path.append(inner)
        return tuple(path)

    def place(self, where: Span | Elsewhere) -> Place:
        """The innermost statement that holds ``where``. Raises `NoFix` if there is none in this file."""
        path = self.path(here(where))
        for depth in range(len(path) - 1, 0, -1):
            node = path[depth]
            if isinstance(node, ast.stmt):
                return self.placed(node, path[:depth])
        raise NoFix("no statement stands there")

    def placed(self, node: ast.stmt, around: tuple[ast.AST, ...]) -> Place:
        """The statement ``node``, which stands directly in the last of ``around``."""
        for suite in suites(around[-1]):
            for index, statement in enumerate(suite):
                if statement is node:
                    return Place(node, suite, index, around)
        raise NoFix("the statement stands in no suite")

    def at(self, span: Span, kind: type[_Node]) -> _Node:
        """The innermost node of type ``kind`` that is exactly at ``span``. Raises `NoFix` if there is none."""
        for node in reversed(self.path(span)):
            if isinstance(node, kind) and span_of(node) == span:
                return node
        raise NoFix(f"no {kind.__name__} stands there")

    # -- tokens --------------------------------------------------------------------------------------------

    @cached_property
    def _tokens(self) -> list[tokenize.TokenInfo]:
        try:
            return list(tokenize.generate_tokens(io.StringIO(self.text).readline))
        except (tokenize.TokenError, SyntaxError) as error:
            raise NoFix(f"cannot be split into tokens: {error}") from None

    @cached_property
    def inside_strings(self) -> frozenset[int]:
        """The lines that begin inside a string, whose indentation is part of it."""
        found: set[int] = set()
        opened: list[int] = []
        for token in self._tokens:
            kind = tokenize.tok_name[token.type]
            if kind in _OPENS:
                opened.append(token.start[0])
            if kind in _CLOSES and opened:
                found.update(range(opened.pop() + 1, token.end[0] + 1))
        return frozenset(found)

    def logical_end(self, line: int) -> int:
        """The last line of the logical line (a simple statement, or a header) that begins in ``line``."""
        for token in self._tokens:
            if token.type == tokenize.NEWLINE and token.start[0] >= line:
                return token.start[0]
        return line


def children(node: ast.AST) -> Iterator[ast.expr | ast.stmt | ast.excepthandler]:
    """Yield what ``node`` is made of, as far as it has a position of its own; without those of an f-string."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.expr, ast.stmt, ast.excepthandler)):
            yield child
        else:
            yield from children(child)


def suites(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the lists of statements that ``node`` consists of."""
    for field in ("body", "orelse", "finalbody"):
        suite = getattr(node, field, None)
        if isinstance(suite, list):
            yield suite
    for case in getattr(node, "cases", ()):
        yield case.body


def span_of(node: ast.AST) -> Span:
    """Where ``node`` stands; a decorated definition begins at ``def`` or ``class``."""
    assert isinstance(node, (ast.expr, ast.stmt, ast.excepthandler))
    assert node.end_lineno is not None and node.end_col_offset is not None
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def extent(node: ast.AST) -> Span:
    """Where ``node`` stands, with the decorators of a definition."""
    line, column, *end = span_of(node)
    for decorator in getattr(node, "decorator_list", ()):
        line, column = min((line, column), (decorator.lineno, decorator.col_offset - 1))
    return line, column, end[0], end[1]


def within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield ``node`` and all of its parts that run when it runs: not what is inside of functions and classes."""
    yield node
    if not isinstance(node, (*FUNCTION, ast.Lambda, ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            yield from within(child)


def suspends(node: ast.AST) -> bool:
    """Whether a generator or coroutine may be suspended while ``node`` runs."""
    waits = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(part, waits) or getattr(part, "is_async", 0) for part in within(node))


def is_of_torch(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether all that is imported is torch, or a part of it."""
    return not foreign(node)


def foreign(node: ast.Import | ast.ImportFrom) -> tuple[str, ...]:
    """Return the names that an import binds to something else than torch or a part of it."""
    if isinstance(node, ast.ImportFrom):
        return () if not node.level and (node.module or "").split(".")[0] == "torch" else bound(node)
    aliases = [alias for alias in node.names if alias.name.split(".")[0] != "torch"]
    return tuple(alias.asname or alias.name.split(".")[0] for alias in aliases)


def bound(node: ast.AST) -> tuple[str, ...]:
    """Return the names that a node binds by itself."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return (node.id,)
    if isinstance(node, ast.arg):
        return (node.arg,)
    if isinstance(node, (*FUNCTION, ast.ClassDef)):
        return (node.name,)
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        return (node.name,)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return tuple(alias.asname or alias.name.split(".")[0] for alias in node.names)
    return ()


def _holds(outer: Span, inner: Span) -> bool:
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:]
