"""Counting how often the code of a finding runs: calls put into its syntax tree, where they cost some 0.2 µs each.

A call goes in front of the innermost statement that holds the start of a finding, and inside of a lambda or a
comprehension in front of what is computed there, since that may never be. Every node keeps its position, and what is
added takes the position of what it stands in front of: tracebacks, coverage and ``co_positions`` do not change.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torch.compiler import is_compiling

Point = tuple[int, int]
"""A line from 1 and a column in UTF-8 bytes from 0, as in syntax trees."""

_NAME = "__gradlint_reached__"
_DEFERRED: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Lambda: ("body",),
    ast.ListComp: ("elt",),
    ast.SetComp: ("elt",),
    ast.GeneratorExp: ("elt",),
    ast.DictComp: ("key", "value"),
}
"""The parts of expressions that are computed later, or not at all."""

_Node = TypeVar("_Node", bound=ast.AST)
_hits: list[int] = []


def reached(number: int) -> None:
    """Count that the code behind probe ``number`` is about to run.

    While ``torch.compile`` traces the code nothing is counted, so that no graph breaks and no guard fails because
    of the probe; how often compiled code runs is not known.
    """
    if not is_compiling():
        # Two threads at once may count once; what was reached never stays at zero.
        _hits[number] += 1


def hits(number: int) -> int:
    """Return how often the code behind probe ``number`` ran so far."""
    return _hits[number]


def insert(tree: ast.Module, points: Iterable[Point]) -> dict[Point, int]:
    """Put probes into ``tree`` for the code at ``points``; return the number of the probe for each.

    A point outside of every statement gets none. The tree compiles and runs as before, in any namespace.
    """
    numbers: dict[Point, int] = {}
    probes: dict[ast.AST, int] = {}
    for point in dict.fromkeys(points):
        holder = _innermost(tree, point)
        if holder is None or _stays_first(holder):
            continue
        if holder not in probes:
            probes[holder] = len(_hits)
            _hits.append(0)
        numbers[point] = probes[holder]
    if probes:
        _place(tree, probes)
        _define(tree)
    return numbers


def _innermost(tree: ast.Module, point: Point) -> ast.AST | None:
    """Return the statement or deferred expression around ``point`` that lies deepest."""
    found: ast.AST | None = None
    node: ast.AST | None = tree
    while node is not None:
        inner = next((child for child in ast.iter_child_nodes(node) if _holds(child, point)), None)
        if isinstance(inner, ast.stmt) or any(inner is part for _, part in _deferred(node)):
            found = inner
        node = inner
    return found


def _holds(node: Any, point: Point) -> bool:
    if hasattr(node, "lineno"):
        return _begin(node) <= point < (node.end_lineno, node.end_col_offset)
    # Arguments, comprehensions, items of `with` and cases of `match` have no position: their parts do.
    return any(_holds(child, point) for child in ast.iter_child_nodes(node))


def _begin(node: Any) -> Point:
    """Return where ``node`` begins; a decorated definition does so on the line of its first decorator."""
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return (decorators[0].lineno, 0) if decorators else (node.lineno, node.col_offset)


def _deferred(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for name in _DEFERRED.get(type(node), ()):
        yield name, getattr(node, name)


def _stays_first(node: ast.AST | None) -> bool:
    """Tell whether nothing may stand in front of ``node``: a docstring, or an import from the future."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _place(tree: ast.Module, probes: dict[ast.AST, int]) -> None:
    for node in list(ast.walk(tree)):
        for name, part in _deferred(node):
            if part in probes:
                begin = _begin(part)
                # The call returns None, so that the value is that of what stands behind `or`.
                setattr(node, name, _at(begin, ast.BoolOp(ast.Or(), [_call(probes[part], begin), part])))
        for _, body in ast.iter_fields(node):
            if isinstance(body, list) and any(isinstance(each, ast.stmt) for each in body):
                body[:] = [each for statement in body for each in _led(statement, probes)]


def _led(statement: ast.stmt, probes: dict[ast.AST, int]) -> Iterator[ast.stmt]:
    """Yield ``statement``, and its probe before it."""
    if statement in probes:
        begin = _begin(statement)
        yield _at(begin, ast.Expr(_call(probes[statement], begin)))
    yield statement


def _define(tree: ast.Module) -> None:
    """Import what the probes call as the first thing that the module does."""
    index = next(index for index, statement in enumerate(tree.body) if not _stays_first(statement))
    begin = _begin(tree.body[index])
    names = [_at(begin, ast.alias("reached", _NAME))]
    tree.body.insert(index, _at(begin, ast.ImportFrom(module=__name__, names=names, level=0)))


def _call(number: int, begin: Point) -> ast.Call:
    name, argument = _at(begin, ast.Name(_NAME, ast.Load())), _at(begin, ast.Constant(number))
    return _at(begin, ast.Call(func=name, args=[argument], keywords=[]))


def _at(begin: Point, made: _Node) -> _Node:
    """Give ``made`` the position of what begins at ``begin``, with no width."""
    node: Any = made
    node.lineno, node.col_offset = node.end_lineno, node.end_col_offset = begin
    return made
