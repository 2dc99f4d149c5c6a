"""What a file calls torch, and which names its functions bind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from gradlint.finding import Edit
from gradlint.fix.source import FUNCTION, SCOPE, NoFix, Place, Source, bound, is_of_torch


class Spelling(NamedTuple):
    """How something of torch is written, and the edits (an import) that this takes."""

    text: str
    edits: tuple[Edit, ...] = ()


def spelling(source: Source, place: Place, name: str) -> Spelling:
    """Return how ``torch.<name>`` is written at ``place``.

    Where the file imports only parts of torch, ``import torch`` is put in front of the first of these imports. Raises
    `NoFix` where torch is not imported, or its name means something else somewhere.
    """
    scopes = [source.tree, *(node for node in place.around if isinstance(node, FUNCTION))]
    imports = [found for scope in scopes for found in _imports(scope.body) if found.lineno < place.node.lineno]
    for each in imports:
        for alias in each.names:
            if isinstance(each, ast.Import) and alias.name.split(".")[0] == "torch":
                if alias.asname is None or alias.name == "torch":
                    return Spelling(f"{_unique(source, alias.asname or 'torch')}.{name}")
            elif isinstance(each, ast.ImportFrom) and each.module == "torch" and not each.level and alias.name == name:
                return Spelling(_unique(source, alias.asname or name))
    for each in imports:
        if each in source.tree.body and is_of_torch(each) and not each.col_offset:
            first = source.insert(each.lineno, 0, "import torch\n")
            return Spelling(f"{_unique(source, 'torch')}.{name}", (first,))
    raise NoFix("torch is not imported here")


def _imports(suite: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of one scope, those under conditions included."""
    for node in suite:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _imports([*node.body, *node.orelse])


def _unique(source: Source, name: str) -> str:
    """Return ``name`` if nothing but imports of torch binds it anywhere in the file."""
    if name in source.bound:
        raise NoFix(f"`{name}` is used for something else")
    return name


def is_own(place: Place, name: str) -> bool:
    """Whether ``name`` is a variable of the scope that ``place`` stands in, so that assigning it changes no other."""
    scope = next((node for node in reversed(place.around) if isinstance(node, (ast.Module, *SCOPE))), None)
    if isinstance(scope, ast.Module):
        return True
    if not isinstance(scope, FUNCTION):
        return False
    parts = [part for statement in scope.body for part in _of_scope(statement)]
    if any(isinstance(part, (ast.Global, ast.Nonlocal)) and name in part.names for part in parts):
        return False
    return any(name in bound(part) for part in (*parts, *ast.walk(scope.args)))


def is_loop_variable(place: Place, name: str) -> bool:
    """Whether a loop or ``with`` around ``place`` binds ``name`` to something that others hold as well."""
    for node in place.around:
        target = getattr(node, "target", None) if isinstance(node, (ast.For, ast.AsyncFor)) else None
        if target is not None and any(name in bound(part) for part in ast.walk(target)):
            return True
    return False


def _of_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield ``node`` and its parts that belong to the same scope."""
    yield node
    if not isinstance(node, SCOPE):
        for child in ast.iter_child_nodes(node):
            yield from _of_scope(child)
