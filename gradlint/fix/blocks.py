"""Edits of whole statements: putting them under a header, taking one away, moving lines."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Place, Source, extent, span_of, suspends


def lines_of(source: Source, node: ast.stmt) -> tuple[int, int]:
    """Return the first and last line of ``node``, decorators included. Raises `NoFix` if it shares one of them."""
    line, column, last, end = extent(node)
    before = source.cut((line, 0, line, column))
    behind = source.line(last).encode()[end:].decode().strip()
    if before.strip() or (behind and not behind.startswith("#")):
        raise NoFix("another statement stands on the same line")
    if source.line(line - 1).endswith("\\"):
        raise NoFix("the line above continues into this one")
    return line, last


def wrapped(
    source: Source, statements: Sequence[ast.stmt], header: str, *, may_suspend: bool = False
) -> tuple[Edit, ...]:
    """Put ``statements``, which follow each other in one suite, under ``header`` (``with torch.no_grad():``).

    Raises `NoFix` where the block would be suspended, since a mode that it sets would leak, unless that is the point.
    """
    if not may_suspend and any(suspends(statement) for statement in statements):
        raise NoFix("the block would be suspended")
    first, _ = lines_of(source, statements[0])
    _, last = lines_of(source, statements[-1])
    indent = source.indent(first)
    return (source.insert(first, 0, f"{indent}{header}\n{source.level}"), *indented(source, first + 1, last))


def headed(source: Source, place: Place, header: str, statements: Sequence[ast.stmt]) -> tuple[Edit, ...]:
    """Turn the simple statement at ``place`` into the header of a block of the ``statements`` that follow it.

    Raises `NoFix` where there are none, and where the block would be suspended.
    """
    if not statements:
        raise NoFix("nothing follows")
    if any(suspends(statement) for statement in statements):
        raise NoFix("the block would be suspended")
    _, header_end = lines_of(source, place.node)
    _, last = lines_of(source, statements[-1])
    return (source.replace(span_of(place.node), header), *indented(source, header_end + 1, last))


def indented(source: Source, first: int, last: int) -> tuple[Edit, ...]:
    """Push lines one level to the right; blank lines and lines inside strings stay as they are."""
    return tuple(
        source.insert(line, 0, source.level)
        for line in range(first, last + 1)
        if source.line(line).strip() and line not in source.inside_strings
    )


def unwrapped(source: Source, block: ast.With) -> tuple[Edit, ...]:
    """Take the header of a ``with`` block away and pull its body to the left."""
    first, last = lines_of(source, block)
    start, _ = lines_of(source, block.body[0])
    outer, inner = source.indent(first), source.indent(start)
    if not inner.startswith(outer):
        raise NoFix("the indentation is mixed")
    edits = [source.delete_lines(first, source.logical_end(first))]
    for line in range(source.logical_end(first) + 1, last + 1):
        # A continuation line, or a comment, may begin further left than the block.
        surplus = min(len(inner), len(source.indent(line))) - len(outer)
        if surplus > 0 and source.line(line).strip() and line not in source.inside_strings:
            edits.append(source.replace((line, len(outer), line, len(outer) + surplus), ""))
    return tuple(edits)


def inserted(source: Source, before: ast.stmt, code: str) -> Edit:
    """Put ``code`` on a line of its own in front of a statement."""
    first, _ = lines_of(source, before)
    return source.insert(first, 0, f"{source.indent(first)}{code}\n")


def appended(source: Source, after: ast.stmt, code: str) -> Edit:
    """Put ``code`` on a line of its own behind a statement that is no block."""
    first, last = lines_of(source, after)
    line = source.line(last)
    return source.insert(last, len(line.encode()), f"\n{source.indent(first)}{code}")


def deleted(source: Source, place: Place) -> Edit:
    """Take a statement away. Raises `NoFix` if its suite would be empty."""
    if len(place.suite) == 1:
        raise NoFix("the block would be empty")
    return source.delete_lines(*lines_of(source, place.node))


def body_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """Return the statements of a function behind its docstring. Raises `NoFix` if there are none."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        raise NoFix("the function does nothing")
    return body


def decorated(source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef, decorator: str) -> Edit:
    """Put a decorator next to a function, below those that it has."""
    line, column, _, _ = span_of(function)
    if source.line(line)[:column].strip():
        raise NoFix("another statement stands on the same line")
    return source.insert(line, 0, f"{source.indent(line)}@{decorator}\n")
