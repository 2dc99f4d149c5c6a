"""Edits that make a module own its parameters."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import names
from gradlint.fix.source import NoFix, Place, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.leaves import Hidden

_CONTAINERS = {
    ("layers", "list"): "ModuleList",
    ("layers", "tuple"): "ModuleList",
    ("layers", "dict"): "ModuleDict",
    ("parameters", "list"): "ParameterList",
    ("parameters", "tuple"): "ParameterList",
    ("parameters", "dict"): "ParameterDict",
}


def registered(source: Source, hidden: Hidden) -> tuple[Edit, ...]:
    """Register what is hidden. Raises `NoFix` where it is made in ``forward`` or not stored by one plain display."""
    place = source.place(hidden.span)
    if hidden.form == "buffer":
        return _parameter_for_buffer(source, place)
    node = place.node
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        raise NoFix("it is not assigned here")
    if hidden.form == "tensor":
        return _parameter(source, place, _without_flag(source, node.value))
    if hidden.form == "drawn":
        return _parameter(source, place, source.of(node.value))
    kind = _CONTAINERS.get((hidden.form, hidden.kind))
    if kind is None or not isinstance(node.value, (ast.List, ast.ListComp, ast.Tuple, ast.Dict)):
        raise NoFix("it is more than a list, tuple or dict of layers or of parameters")
    if isinstance(node.value, ast.Dict) and not all(_is_text(key) for key in node.value.keys):
        raise NoFix("the keys may be no text")
    if isinstance(node.value, (ast.List, ast.Tuple)) and any(isinstance(e, ast.Constant) for e in node.value.elts):
        raise NoFix("it holds something else as well")
    nn = names.spelling(source, place, "nn")
    text = source.of(node.value)
    inner = "" if text in ("[]", "{}") else text
    return (*nn.edits, source.replace(span_of(node.value), f"{nn.text}.{kind}({inner})"))


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "." not in node.value


def _parameter(source: Source, place: Place, tensor: str) -> tuple[Edit, ...]:
    """Write ``nn.Parameter(torch.ones(2))`` for what is assigned, ``tensor`` being what it is without a flag."""
    node = place.node
    assert isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
    nn = names.spelling(source, place, "nn")
    return (*nn.edits, source.replace(span_of(node.value), f"{nn.text}.Parameter({tensor})"))


def _without_flag(source: Source, node: ast.expr) -> str:
    method = node.func if isinstance(node, ast.Call) and not (node.args or node.keywords) else None
    if isinstance(method, ast.Attribute) and method.attr == "requires_grad_" and isinstance(method.value, ast.Call):
        return source.of(method.value)
    if not isinstance(node, ast.Call) or not node.args:
        raise NoFix("the tensor is not made here")
    if source.of(node.func).endswith("Variable"):
        raise NoFix("`Variable` is made of a tensor that may have other users")
    given = [*node.args, *(word.value for word in node.keywords)]
    if [word.arg for word in node.keywords][-1:] != ["requires_grad"]:
        raise NoFix("the flag is not the last argument")
    start, before = span_of(node)[:2], span_of(given[-2])[2:]
    return f"{source.cut((*start, *before))})"


def _parameter_for_buffer(source: Source, place: Place) -> tuple[Edit, ...]:
    """Write ``self.scale = nn.Parameter(...)`` for ``self.register_buffer("scale", ...)``."""
    call = place.node.value if isinstance(place.node, ast.Expr) else None
    if not isinstance(call, ast.Call) or len(call.args) != 2 or call.keywords:
        raise NoFix("it is not registered by a plain call")
    name, value = call.args
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str) or not name.value.isidentifier():
        raise NoFix("the buffer has no plain name")
    assert isinstance(call.func, ast.Attribute)
    nn = names.spelling(source, place, "nn")
    text = f"{source.of(call.func.value)}.{name.value} = {nn.text}.Parameter({_without_flag(source, value)})"
    return (*nn.edits, source.replace(span_of(call), text))
