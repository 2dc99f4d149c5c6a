"""What the source around a place says: which function it lies in, what is decorated, which blocks a name opens."""

from __future__ import annotations

import ast
import linecache
import os
import re
from collections.abc import Iterator
from functools import lru_cache

from gradlint.finding import Location
from gradlint.runtime.place import Place

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Function = ast.FunctionDef | ast.AsyncFunctionDef
With = ast.With | ast.AsyncWith

_MODE = re.compile(r"\b(no_grad|enable_grad|inference_mode|set_grad_enabled)\b")

_SWITCHES = frozenset({"set_grad_enabled", "_set_grad_enabled", "train", "eval", "requires_grad_"})


def absolute(path: str) -> str:
    """Return the path as recordings have it; what is no file keeps its name (``<stdin>``)."""
    return path if path.startswith("<") else os.path.abspath(path)


def decorated(path: str, decorator: Location) -> Definition | None:
    """Return the definition that the decorator at ``decorator`` of the file ``path`` belongs to."""
    for node in _nodes(path):
        if isinstance(node, Definition):
            first = min((each.lineno for each in node.decorator_list), default=node.lineno)
            if first <= decorator.line < node.lineno:
                return node
    return None


def function_around(path: str, line: int) -> Function | None:
    """Return the innermost function of the file ``path`` that holds ``line``."""
    found: Function | None = None
    for node in _nodes(path):
        if isinstance(node, Function) and node.lineno <= line <= (node.end_lineno or node.lineno):
            found = node if found is None or node.lineno >= found.lineno else found
    return found


def only_switches(function: Function) -> bool:
    """Tell whether a function does nothing but switch modes, so that these are its callers' business."""
    body = [each for each in function.body if not _says_nothing(each)]
    return all(isinstance(each, ast.Expr) and _switches(each.value) for each in body)


def blocks_of(path: str, name: str) -> Iterator[Location]:
    """Yield the bodies of the ``with`` statements of the file ``path`` whose context is a call of ``name``."""
    for node in _nodes(path):
        if isinstance(node, With) and any(_calls(item.context_expr, name) for item in node.items):
            last = node.body[-1]
            yield Location(node.body[0].lineno, 0, last.end_lineno or last.lineno, 0)


def text_at(place: Place) -> str:
    """Return the source at ``place``, as far as it lies on its first line."""
    location = shown_location(place)
    line = linecache.getline(place.path, location.line)
    end = location.end_column - 1 if location.end_line == location.line else None
    return line[location.column - 1 : end].rstrip("\n")


def shown_location(place: Place) -> Location:
    """Return what to underline for ``place``: the line where no columns are known, the context of a ``with``.

    Before Python 3.13, a context manager is entered at the place of its whole ``with`` statement.
    """
    location = place.location
    if not place.has_columns:
        text = linecache.getline(place.path, place.line).rstrip("\n")
        start = len(text) - len(text.lstrip()) + 1
        return Location(place.line, start, place.line, max(start, len(text)) + 1)
    if location.line == location.end_line:
        return location
    for node in _nodes(place.path):
        if isinstance(node, With) and (node.lineno, node.end_lineno) == (location.line, location.end_line):
            contexts = [item.context_expr for item in node.items]
            return _location(place.path, next(filter(_sets_mode, contexts), contexts[0]))
    return location


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _switches(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and _name(value.func) in _SWITCHES


def _sets_mode(context: ast.expr) -> bool:
    return _MODE.search(ast.unparse(context)) is not None


def _location(path: str, node: ast.expr) -> Location:
    """Return where ``node`` is, with columns in characters."""
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return Location(
        node.lineno, _column(path, node.lineno, node.col_offset), end_line, _column(path, end_line, end_column)
    )


def _column(path: str, line: int, offset: int) -> int:
    return len(linecache.getline(path, line).encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore")) + 1


def _calls(context: ast.expr, name: str) -> bool:
    return isinstance(context, ast.Call) and _name(context.func) == name


def _name(function: ast.expr) -> str:
    """Return the last part of a function's name."""
    return function.attr if isinstance(function, ast.Attribute) else str(getattr(function, "id", ""))


def _nodes(path: str) -> tuple[ast.AST, ...]:
    return _parsed("".join(linecache.getlines(path)))


@lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[ast.AST, ...]:
    """Return all nodes of a source; none if it is not Python."""
    try:
        return tuple(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return ()
