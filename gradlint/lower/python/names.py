"""Which names a body binds, found in one pass over its statements.

Expressions are looked into only where the text says that it is worth it: for ``yield`` and for ``:=``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRY_STAR: type[ast.AST] | None = getattr(ast, "TryStar", None)
_TYPE_ALIAS: type[ast.AST] | None = getattr(ast, "TypeAlias", None)


@dataclass(slots=True)
class Bindings:
    """What the statements of one body bind and declare, and the functions and classes defined among them."""

    bound: set[str] = field(default_factory=set)
    global_names: set[str] = field(default_factory=set)
    nonlocal_names: set[str] = field(default_factory=set)
    definitions: list[Definition] = field(default_factory=list)
    yields: bool = False


def bindings(statements: list[ast.stmt], look_into_expressions: bool) -> Bindings:
    """The bindings of a body, given its statements."""
    found = Bindings()
    bound = found.bound
    suites: list[list[Any]] = [statements]
    while suites:
        for node in suites.pop():
            kind = node.__class__
            if look_into_expressions:
                _expressions_of(node, found)
            if kind is ast.Assign:
                for target in node.targets:
                    target_names(target, bound)
            elif kind is ast.Expr or kind is ast.Return:
                continue
            elif kind is ast.If or kind is ast.While:
                suites += (node.body, node.orelse)
            elif kind in _SCOPES:
                bound.add(node.name)
                found.definitions.append(node)
            elif kind is ast.AugAssign or kind is ast.AnnAssign:
                target_names(node.target, bound)
            elif kind is ast.For or kind is ast.AsyncFor:
                target_names(node.target, bound)
                suites += (node.body, node.orelse)
            elif kind is ast.With or kind is ast.AsyncWith:
                for item in node.items:
                    if item.optional_vars is not None:
                        target_names(item.optional_vars, bound)
                suites.append(node.body)
            elif kind is ast.Try or kind is _TRY_STAR:
                suites += (node.body, node.orelse, node.finalbody)
                for handler in node.handlers:
                    if handler.name is not None:
                        bound.add(handler.name)
                    suites.append(handler.body)
            elif kind is ast.Import:
                bound.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            elif kind is ast.ImportFrom:
                bound.update(alias.asname or alias.name for alias in node.names if alias.name != "*")
            elif kind is ast.Global:
                found.global_names.update(node.names)
            elif kind is ast.Nonlocal:
                found.nonlocal_names.update(node.names)
            elif kind is ast.Delete:
                for target in node.targets:
                    target_names(target, bound)
            elif kind is ast.Match:
                for case in node.cases:
                    _captures(case.pattern, bound)
                    suites.append(case.body)
            elif kind is _TYPE_ALIAS:
                target_names(node.name, bound)
    found.definitions.sort(key=lambda definition: (definition.lineno, definition.col_offset))
    return found


def target_names(target: ast.expr, names: set[str]) -> None:
    """Adds the variables that a target binds to ``names``."""
    if isinstance(target, ast.Name):
        names.add(target.id)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            target_names(part, names)
    elif isinstance(target, ast.Starred):
        target_names(target.value, names)


def walrus_names(nodes: list[ast.expr]) -> set[str]:
    """The variables that ``:=`` binds in expressions, comprehensions in them included."""
    found = Bindings()
    for node in nodes:
        _look_into(node, found)
    return found.bound


def _captures(pattern: ast.pattern, names: set[str]) -> None:
    for node in ast.walk(pattern):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name is not None:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            names.add(node.rest)


def _expressions_of(node: ast.stmt, found: Bindings) -> None:
    """Looks into the expressions of a statement that the body evaluates itself; its suites have their own turn."""
    for part in _header(node):
        _look_into(part, found)


def _header(node: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from node.decorator_list
        yield from node.args.defaults
        yield from (default for default in node.args.kw_defaults if default is not None)
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
        elif isinstance(child, ast.withitem):
            yield child.context_expr
        elif isinstance(child, ast.ExceptHandler):
            if child.type is not None:
                yield child.type
        elif isinstance(child, ast.match_case):
            if child.guard is not None:
                yield child.guard
        elif isinstance(child, ast.keyword):
            yield child.value


def _look_into(root: ast.expr, found: Bindings) -> None:
    stack: list[ast.AST] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.NamedExpr):
            found.bound.add(node.target.id)
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            found.yields = True
        stack.extend(ast.iter_child_nodes(node))
