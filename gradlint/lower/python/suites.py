"""The statements of one scope, and the expressions that each evaluates, as the syntax tree has them."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator

from gradlint.lower.python.names import target_names

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITION = (*_FUNCTION, ast.ClassDef)
_BLOCKS = frozenset((ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.Try, ast.Match))
_BLOCKS |= {ast.ExceptHandler, ast.match_case, getattr(ast, "TryStar", ast.Try)}
_HEADED = _BLOCKS.union(_DEFINITION)
_LEAVES = frozenset((ast.Name, ast.Constant, str, type(None)))
"""The classes of what holds no other expression, in a tree and in the fields of its nodes."""
_PLAIN = frozenset("attr ctx conversion id is_async kind level lineno name op ops simple type_comment".split())
"""The fields that hold no expressions."""
_BINDING = frozenset((ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith))


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """By class of a node, the fields that may hold expressions."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        self[kind] = tuple(name for name in kind._fields if name not in _PLAIN)
        return self[kind]


_FIELDS = _Fields()


def statements(suite: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a scope, those in its blocks included, in source order; of a definition the header."""
    pending: list[ast.AST] = suite[::-1]  # type: ignore[assignment]
    while pending:
        node = pending.pop()
        if node.__class__ in _BLOCKS:
            inner: list[ast.AST] = []
            for part in ("body", "handlers", "cases", "orelse", "finalbody"):
                inner += getattr(node, part, ())
            if isinstance(node, ast.stmt):
                yield node
            pending.extend(reversed(inner))
        else:
            yield node  # type: ignore[misc]


def expressions(scope: list[ast.stmt], kinds: Container[type[ast.AST]]) -> Iterator[ast.AST]:
    """Yield the expressions of some kinds that the `statements` of a scope evaluate, at any depth."""
    pending: list[ast.AST] = []
    for statement in scope:
        if statement.__class__ in _HEADED:
            pending += [part for part in _header(statement) if part.__class__ not in _LEAVES]
        else:
            pending.append(statement)
    while pending:
        node = pending.pop()
        if node.__class__ in kinds:
            yield node
        for name in _FIELDS[node.__class__]:
            value = getattr(node, name)
            if value.__class__ is list:
                pending += [each for each in value if each.__class__ not in _LEAVES]
            elif value.__class__ not in _LEAVES:
                pending.append(value)


def bound_otherwise(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds which is neither an import nor an assignment nor a definition."""
    names: set[str] = set()
    if node.__class__ not in _BINDING:
        return names
    if isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)):
        target_names(node.target, names)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            if item.optional_vars is not None:
                target_names(item.optional_vars, names)
    return names


def _header(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield what a block or a definition evaluates itself: conditions, decorators, defaults and bases, no suite."""
    if isinstance(node, _FUNCTION):
        yield from (*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each))
        return
    for name, value in vars(node).items():
        if name in ("body", "orelse", "finalbody"):
            continue
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, ast.ExceptHandler):
                yield from () if part.type is None else (part.type,)
            elif isinstance(part, ast.match_case):
                yield from () if part.guard is None else (part.guard,)
            elif isinstance(part, ast.AST):
                yield part
