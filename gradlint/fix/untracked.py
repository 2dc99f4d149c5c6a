"""Which statements may run with gradients off, given that nobody differentiates one forward in them.

What is computed *from* that forward hangs on its graph, so nobody differentiates it either. This ends where the result
is taken off the graph (`teacher(x).detach()`): behind that point, another operand may be what is trained. And a call
beside the forward (`student(x) + teacher(x)`) may matter where the two do not meet in one operation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from gradlint.fix.source import NoFix, Place, Source, span_of
from gradlint.torch_model import tensors
from gradlint.torch_model.attributes import tensor_properties

if TYPE_CHECKING:
    from gradlint.ir.events import Span

_SIMPLE = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)
_CONSUMES = frozenset("sum list tuple set dict max min any all sorted len".split())
_STORES = frozenset("append extend add insert update".split())
_NUMBERS = frozenset("float int bool str len print range isinstance".split())
# Beside a forward these only look at a tensor, or move it.
_PLAIN = frozenset(
    "to cuda cpu size dim numel long float int bool view reshape unsqueeze squeeze item keys items".split()
)


def may_go_untracked(source: Source, place: Place, forward: Span) -> None:
    """Raise `NoFix` unless the statement at ``place`` may run with gradients off."""
    if not isinstance(place.node, _SIMPLE):
        raise NoFix("the forward stands in the header of a block")
    path = source.path(forward)
    inner = [node for node in path[len(place.around) :] if node is not place.node]
    if not inner or not (isinstance(inner[-1], ast.JoinedStr) or span_of(inner[-1]) == forward):
        raise NoFix("the forward is not visible as one expression")
    _require_eager(inner)
    cut = isinstance(inner[-1], ast.JoinedStr)
    for node, child in zip(reversed(inner[:-1]), reversed(inner[1:]), strict=True):
        others = list(_others(node, child))
        if any(_computes(other) for other in others):
            raise NoFix("the statement computes something else")
        cut = cut or _cuts(node)
        if cut and _combines(node) and not all(_is_constant(other) for other in others):
            raise NoFix("the statement goes on with other values")
    if isinstance(place.node, ast.AugAssign) and cut and not isinstance(place.node.op, (ast.Add, ast.Sub)):
        raise NoFix("the statement goes on with other values")


def _require_eager(path: list[ast.AST]) -> None:
    """Raise `NoFix` where the forward runs later than the statement."""
    for index, node in enumerate(path):
        around = path[index - 1] if index else None
        consumed = isinstance(around, ast.Call) and isinstance(around.func, ast.Name) and around.func.id in _CONSUMES
        if isinstance(node, ast.Lambda) or (isinstance(node, ast.GeneratorExp) and not consumed):
            raise NoFix("the forward runs later")


def _others(node: ast.AST, child: ast.AST) -> Iterator[ast.expr]:
    """Yield the parts of an expression beside the one that leads to the forward, its function or method left out."""
    if isinstance(node, ast.Call) and node.func is not child:
        yield from (part for part in (*node.args, *(keyword.value for keyword in node.keywords)) if part is not child)
        if isinstance(node.func, ast.Attribute) and node.func.attr not in _STORES:
            yield node.func.value
        return
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.keyword):
            part = part.value
        if isinstance(part, ast.comprehension):
            yield from (part.iter, *part.ifs)
        elif isinstance(part, ast.expr) and part is not child:
            yield part


def _computes(other: ast.expr) -> bool:
    """Whether something beside the forward may be a forward as well."""
    for node in ast.walk(other):
        if isinstance(node, ast.Call):
            plain = isinstance(node.func, ast.Attribute) and node.func.attr in _PLAIN
            if not plain and not (isinstance(node.func, ast.Name) and node.func.id in _NUMBERS):
                return True
    return False


def _is_constant(node: ast.expr) -> bool:
    return not any(isinstance(part, (ast.Name, ast.Call)) for part in ast.walk(node))


def _cuts(node: ast.AST) -> bool:
    """Whether the result of an expression is off the graph whatever it is made of."""
    if isinstance(node, ast.Compare):
        return True
    if isinstance(node, ast.Attribute):
        return node.attr in _cutting()
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NUMBERS


@cache
def _cutting() -> frozenset[str]:
    properties = tensor_properties() - {"T", "mT", "H", "real", "imag"}
    methods = tensors.cuts() | tensors.scalar_cuts() | tensors.numpy_cuts() | tensors.nondifferentiable()
    return properties | methods


def _combines(node: ast.AST) -> bool:
    """Whether an expression computes something from several values."""
    return isinstance(node, (ast.BinOp, ast.Call))
