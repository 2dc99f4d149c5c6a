"""Edits of what is stored across iterations."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of
from gradlint.torch_model.attributes import tensor_methods
from gradlint.torch_model.roles import LOSS

if TYPE_CHECKING:
    from gradlint.facts import KeptGraph, PiledGraph

_FUNCTIONAL = re.compile(r"^(?:torch|F|nn\.functional|torch\.nn\.functional)\.\w+$")
_CONTAINERS = frozenset({"append", "appendleft", "add", "put", "insert"})


def grows_by_assignment(source: Source, kept: KeptGraph | PiledGraph) -> bool:
    """Whether the statement computes what it stores from what is stored already: ``total = total + loss``."""
    return isinstance(source.place(kept.span).node, ast.Assign)


def detached(source: Source, kept: KeptGraph | PiledGraph) -> tuple[Edit, ...]:
    """Detach what is stored. Raises `NoFix` where it may be something else than a tensor."""
    value = _stored(source, kept)
    if not _is_tensor(source, value):
        raise NoFix("what is stored may be no tensor")
    if isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        return (source.behind(value, ".detach()"),)
    return (source.replace(span_of(value), f"({source.of(value)}).detach()"),)


def _stored(source: Source, kept: KeptGraph | PiledGraph) -> ast.expr:
    """Return what the statement puts away."""
    node = source.place(kept.span).node
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        return node.value
    if isinstance(node, ast.Assign):
        for part in ast.walk(node.value):
            if isinstance(part, (ast.ListComp, ast.SetComp)) and span_of(part) == kept.span:
                return part.elt
        return node.value
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and not call.keywords:
        method = call.func.attr
        if method in _CONTAINERS and len(call.args) == (2 if method == "insert" else 1):
            return call.args[-1]
    return _given(source, kept)


def _given(source: Source, kept: KeptGraph | PiledGraph) -> ast.expr:
    """Return what a call that is no container's is given to keep: ``meter.update(loss, count)``."""
    call = source.at(kept.span, ast.Call)
    given = [one for one in call.args if source.of(one).partition("[")[0] == kept.target]
    if len(given) != 1:
        raise NoFix("what is stored is not visible")
    return given[0]


def _is_tensor(source: Source, node: ast.expr) -> bool:
    """Whether an expression that is on the graph is a tensor rather than a container of some."""
    if isinstance(node, ast.BinOp):
        return _is_tensor(source, node.left) or _is_tensor(source, node.right)
    if isinstance(node, ast.Subscript):
        return _is_tensor(source, node.value)
    if isinstance(node, ast.Name):
        return LOSS.search(node.id) is not None
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in tensor_methods():
        return True
    function = source.of(node.func)
    return LOSS.search(function) is not None or _FUNCTIONAL.match(function) is not None
