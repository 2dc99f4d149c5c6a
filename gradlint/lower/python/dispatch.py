"""The two tables that say how each kind of syntax is lowered, and the walk over a suite of statements.

The other modules of the package register their functions here. A node that nothing is registered for, such as
the syntax of a newer Python, becomes `Opaque`: its names are read, and the names it binds are havocked.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gradlint.ir.events import Load, Opaque, Ref, Span

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder

ExpressionLowering = Callable[["GraphBuilder", Any], Ref]
StatementLowering = Callable[["GraphBuilder", Any], None]
_ExpressionT = TypeVar("_ExpressionT", bound=Callable[..., Ref])
_StatementT = TypeVar("_StatementT", bound=Callable[..., None])


def span_of(node: Any) -> Span:
    """The span of a node that has a position."""
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def _opaque(builder: GraphBuilder, node: Any) -> Ref:
    reads, writes = [], []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            name = builder.renames.get(inner.id, inner.id)
            if isinstance(inner.ctx, ast.Load):
                ref = builder.new_ref()
                builder.events.append(Load(span_of(inner), ref, name))
                reads.append(ref)
            else:
                writes.append(name)
    dst = builder.new_ref()
    builder.events.append(Opaque(span_of(node), dst, tuple(reads), tuple(dict.fromkeys(writes))))
    return dst


def _opaque_statement(builder: GraphBuilder, node: Any) -> None:
    _opaque(builder, node)


class _ExpressionTable(dict[type[ast.AST], ExpressionLowering]):
    def __missing__(self, kind: type[ast.AST]) -> ExpressionLowering:
        return _opaque


class _StatementTable(dict[type[ast.AST], StatementLowering]):
    def __missing__(self, kind: type[ast.AST]) -> StatementLowering:
        return _opaque_statement


EXPRESSIONS = _ExpressionTable()
STATEMENTS = _StatementTable()


def expression(*names: str) -> Callable[[_ExpressionT], _ExpressionT]:
    """Registers a function for the classes of `ast` called ``names``, as far as this Python has them."""

    def register(function: _ExpressionT) -> _ExpressionT:
        for name in names:
            if hasattr(ast, name):
                EXPRESSIONS[getattr(ast, name)] = function
        return function

    return register


def statement(*names: str) -> Callable[[_StatementT], _StatementT]:
    """Registers a function for the classes of `ast` called ``names``, as far as this Python has them."""

    def register(function: _StatementT) -> _StatementT:
        for name in names:
            if hasattr(ast, name):
                STATEMENTS[getattr(ast, name)] = function
        return function

    return register


def suite(builder: GraphBuilder, statements: Sequence[ast.stmt]) -> None:
    """Lowers statements one after the other, up to one that never goes on to the next."""
    for node in statements:
        if builder.block is builder.dead:
            return
        STATEMENTS[node.__class__](builder, node)
