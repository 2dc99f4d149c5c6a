"""Edits that write an in-place operation out of place, or put it where torch allows it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit as TextEdit
from gradlint.fix import blocks, modes, names
from gradlint.fix.source import NoFix, Place, Source, span_of
from gradlint.torch_model.attributes import tensor_methods
from gradlint.torch_model.roles import LOSS
from gradlint.torch_model.tensors import in_place_functions, in_place_methods, several_results

if TYPE_CHECKING:
    from gradlint.facts import Edit
    from gradlint.ir.events import Span

_OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.Mod: "%",
    ast.FloorDiv: "//",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
# Their namesakes do something else, or nothing at all.
_NO_COUNTERPART = frozenset({"bernoulli_"})
# Functions that are no methods of a tensor.
_FUNCTIONS = frozenset("elu selu celu leaky_relu rrelu threshold".split())
_HOMES = ("torch", "F", "nn.functional", "torch.nn.functional")
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)


def sums_up(source: Source, edit: Edit) -> bool:
    """Whether the edit adds what may be trained to a total, so that gradients must stay on."""
    node = source.place(edit.span).node
    if not isinstance(node, ast.AugAssign) or not isinstance(node.op, ast.Add):
        return False
    calls = any(isinstance(part, ast.Call) for part in ast.walk(node.value))
    named = isinstance(node.target, ast.Name) and (LOSS.search(node.target.id) or node.target.id.startswith("total"))
    return not _reads_gradient(node.value) and (calls or bool(named))


def without_gradients(source: Source, edit: Edit) -> tuple[TextEdit, ...]:
    """Put the statement that edits a leaf under ``no_grad``. Raises `NoFix` where its value is used."""
    node = source.place(edit.span).node
    plain = isinstance(node, ast.AugAssign) or (
        isinstance(node, ast.Assign) and all(isinstance(target, ast.Subscript) for target in node.targets)
    )
    if not plain and not (isinstance(node, ast.Expr) and _is_edit(node.value)):
        raise NoFix("the value of the edit is used")
    return modes.under_no_grad(source, edit.span)


def _is_edit(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return name.endswith("_") or any(keyword.arg == "inplace" for keyword in node.keywords)


def _reads_gradient(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr == "grad" for part in ast.walk(node))


def rebound(source: Source, edit: Edit) -> tuple[TextEdit, ...]:
    """Write ``total = total + loss`` for ``total += loss``."""
    place = source.place(edit.span)
    if not isinstance(place.node, ast.AugAssign):
        raise NoFix("it is no augmented assignment")
    _require_own(source, place, place.node.target)
    return (_plain_assignment(source, place.node),)


def of_a_copy(source: Source, edit: Edit, name: str) -> tuple[TextEdit, ...]:
    """Compute ``name`` anew, or clone it in front of the statement that edits it."""
    place = source.place(edit.span)
    if isinstance(place.node, ast.AugAssign) and isinstance(place.node.target, ast.Name):
        return rebound(source, edit)
    if not names.is_own(place, name) or names.is_loop_variable(place, name):
        raise NoFix(f"`{name}` belongs to others as well")
    return (blocks.inserted(source, place.node, f"{name} = {name}.clone()"),)


def out_of_place(source: Source, edit: Edit, *, of_view: bool = False) -> tuple[TextEdit, ...]:
    """Compute a new tensor instead, under the same name; ``of_view``: even though others shared its memory.

    Raises `NoFix` where the name is not the only one for sure that should see the change: a parameter, a view, the
    variable of a loop, a tensor that a caller handed in.
    """
    if (
        edit.called
        or (edit.alias and not of_view)
        or edit.target.leaf
        or not (edit.target.computed or of_view)
        or not edit.modes.records
    ):
        raise NoFix("others have to see the edit")
    place = source.place(edit.span)
    node = place.node
    if isinstance(node, ast.AugAssign) and (edit.op != "[]=" or not isinstance(node.target, ast.Subscript)):
        if edit.alias and isinstance(node.target, ast.Subscript):
            raise NoFix("a part of a tensor is written to it again")
        _require_own(source, place, node.target)
        return (_plain_assignment(source, node),)
    if isinstance(node, ast.Expr):
        edits, target = _calls(source, node.value)
        _require_own(source, place, target)
        line, column, _, _ = span_of(node)
        return (source.insert(line, column, f"{source.of(target)} = "), *edits)
    if isinstance(node, (ast.Assign, ast.Return)) and isinstance(node.value, ast.Call):
        flagged = _without_flag(source, node.value)
        edits, target = flagged or _calls(source, node.value)
        targets = node.targets if isinstance(node, ast.Assign) else [target]
        if [source.of(each) for each in targets] != [source.of(target)]:
            raise NoFix("the edited tensor goes on under two names")
        _require_own(source, place, target)
        return edits
    return (_cloned(source, place),)


def detached(source: Source, call: Span) -> tuple[TextEdit, ...]:
    """Write ``x = x.detach()`` for ``x.detach_()``, which is a statement."""
    place = source.place(call)
    node = place.node.value if isinstance(place.node, ast.Expr) else None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or span_of(node) != call:
        raise NoFix("the value of the call is used")
    target = node.func.value
    _require_own(source, place, target)
    line, column, _, _ = span_of(node)
    return (source.insert(line, column, f"{source.of(target)} = "), _renamed(source, node.func))


def detached_copy(source: Source, call: Span) -> tuple[TextEdit, ...]:
    """Write ``x.detach()`` for ``x.detach_()``, whose value is used."""
    for node in ast.walk(source.place(call).node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and span_of(node) == call:
            return (_renamed(source, node.func),)
    raise NoFix("the call is not a part of one statement")


def for_each_name(source: Source, edit: Edit) -> tuple[TextEdit, ...]:
    """Leave the tensor as the other name is to see it: without ``inplace=True``, or else `out_of_place`."""
    place = source.place(edit.span)
    for node in reversed(source.path(edit.span)):
        flagged = _without_flag(source, node) if isinstance(node, ast.Call) and span_of(node) == edit.span else None
        if flagged is not None and not isinstance(place.node, ast.Expr):
            return flagged[0]
    return out_of_place(source, edit)


def without_out(source: Source, call: Span) -> tuple[TextEdit, ...]:
    """Write ``result = torch.mul(x, 2)`` for ``torch.mul(x, 2, out=result)``, which is a statement."""
    place = source.place(call)
    node = place.node.value if isinstance(place.node, ast.Expr) else None
    given = next((each for each in node.keywords if each.arg == "out"), None) if isinstance(node, ast.Call) else None
    if not isinstance(node, ast.Call) or given is None or not node.args or not isinstance(given.value, ast.Name):
        raise NoFix("what is written to has no name, or the call is part of something larger")
    _require_own(source, place, given.value)
    rest = [*node.args, *(each.value for each in node.keywords if each is not given)]
    before = [each for each in rest if span_of(each) < span_of(given.value)]
    line, column, _, _ = span_of(node)
    end = span_of(max(before, key=span_of))[2:]
    return (
        source.insert(line, column, f"{given.value.id} = "),
        source.replace((*end, *span_of(given.value)[2:]), ""),
    )


def _plain_assignment(source: Source, node: ast.AugAssign) -> TextEdit:
    """Write ``x = x + y`` for ``x += y``."""
    if type(node.op) not in _OPERATORS:
        raise NoFix("the operator works in place in any case")
    start, end = span_of(node.target)[2:], span_of(node)[2:]
    value = source.cut((*start, *end)).partition("=")[2].strip()
    if not isinstance(node.value, _ATOMS) and not value.startswith("("):
        value = f"({value})"
    operator = _OPERATORS[type(node.op)]
    return source.replace((*start, *end), f" = {source.of(node.target)} {operator} {value}")


def _without_flag(source: Source, call: ast.Call) -> tuple[tuple[TextEdit, ...], ast.expr] | None:
    """Drop ``inplace=True`` from the call of a function; None if it has no such argument."""
    given = sorted([*call.args, *(keyword.value for keyword in call.keywords)], key=span_of)
    for keyword in call.keywords:
        if keyword.arg == "inplace" and given.index(keyword.value) and call.args:
            before = given[given.index(keyword.value) - 1]
            return (source.replace((*span_of(before)[2:], *span_of(keyword.value)[2:]), ""),), call.args[0]
    return None


def _calls(source: Source, node: ast.expr) -> tuple[tuple[TextEdit, ...], ast.expr]:
    """Write ``x.mul(2).add(1)`` for ``x.mul_(2).add_(1)``; return the edits and what is edited."""
    edits: list[TextEdit] = []
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        function = node.func
        if _is_function(source, function) and node.args:
            edits.append(_renamed(source, function))
            node = node.args[0]
            break
        if function.attr not in in_place_methods():
            raise NoFix("the edit is part of something larger")
        edits.append(_renamed(source, function))
        node = function.value
    if not edits or not isinstance(node, (ast.Name, ast.Attribute)):
        raise NoFix("what is edited has no name")
    return tuple(edits), node


def _is_function(source: Source, function: ast.Attribute) -> bool:
    """Whether a function of torch is called that edits its first argument: ``F.relu_``."""
    known = {name.rpartition(".")[2] for name in in_place_functions()}
    return source.of(function.value) in _HOMES and function.attr in known


def has_counterpart(name: str) -> bool:
    """Whether a method or function of torch that works in place has a namesake that does not."""
    return name not in _NO_COUNTERPART and name.removesuffix("_") in tensor_methods() | _FUNCTIONS


def _renamed(source: Source, function: ast.Attribute) -> TextEdit:
    if not has_counterpart(function.attr):
        raise NoFix(f"nothing does what `{function.attr}` does out of place")
    _, _, line, column = span_of(function)
    return source.replace((line, column - 1, line, column), "")


def _cloned(source: Source, place: Place) -> TextEdit:
    """Write ``x = x.clone()`` in front of ``x[i] = y``; in ``x[i][j] = y``, ``x`` may be a list of tensors."""
    node = place.node
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if not isinstance(target, ast.Subscript):
        raise NoFix("the edit is part of something larger")
    edited = target.value
    if not isinstance(node, (ast.Assign, ast.AugAssign)) or not isinstance(edited, ast.Name):
        raise NoFix("what is edited has no name")
    _require_own(source, place, edited)
    return blocks.inserted(source, node, f"{edited.id} = {edited.id}.clone()")


def _require_own(source: Source, place: Place, target: ast.expr) -> None:
    """Raise `NoFix` unless another tensor can be put under the name ``target``, and only the edit is lost."""
    if isinstance(target, ast.Attribute) and any(target.attr in fields for fields in several_results().values()):
        raise NoFix(f"`{target.attr}` may be a field of a named tuple, which nothing can be put in")
    parts = target
    while isinstance(parts, (ast.Attribute, ast.Subscript)):
        if isinstance(parts, ast.Subscript) and any(isinstance(part, ast.Call) for part in ast.walk(parts.slice)):
            raise NoFix("the key would be computed twice")
        parts = parts.value
    if not isinstance(parts, ast.Name):
        raise NoFix("what is edited has no name")
    if isinstance(target, ast.Name) and not names.is_own(place, target.id):
        raise NoFix(f"`{target.id}` belongs to another scope")
    if isinstance(target, ast.Name) and names.is_loop_variable(place, target.id):
        raise NoFix(f"`{target.id}` is an item of something that has to see the edit")
