"""Edits about leaves: their updates, their gradients, their flags, and the iterators that give them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks, modes
from gradlint.fix.source import NoFix, Place, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.leaves import AliasedState, Exhausted, MissingGradient, NeedlessFlag, Rebound
    from gradlint.ir.events import Span


def listed(source: Source, fact: Exhausted) -> tuple[Edit, ...]:
    """Write ``list(model.parameters())``."""
    if "list" in source.bound:
        raise NoFix("`list` is used for something else")
    return (source.replace(fact.made, f"list({source.cut(fact.made)})"),)


def updated(source: Source, fact: Rebound) -> tuple[Edit, ...]:
    """Write ``with torch.no_grad(): w -= lr * w.grad`` for ``w = w - lr * w.grad``, and clear the gradient behind.

    What an optimizer has is copied into: ``x.copy_(x.clamp(0, 1))``.
    """
    place = source.place(fact.span)
    if fact.optimizer:
        return _copied(source, fact, place)
    node = place.node
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.value, ast.BinOp):
        raise NoFix("it is no plain update")
    target, value = node.targets[0], node.value
    operator = {ast.Add: "+=", ast.Sub: "-="}.get(type(value.op))
    same = isinstance(target, ast.Name) and isinstance(value.left, ast.Name) and target.id == value.left.id
    if operator is None or not same:
        raise NoFix("it is no plain update")
    if any(isinstance(around, ast.With) for around in place.around):
        raise NoFix("what is around it may have turned gradients off")
    written = source.replace(span_of(node), f"{fact.name} {operator} {source.of(value.right)}")
    guarded = modes.under_no_grad(source, fact.span)
    edits = (*guarded, written)
    if _clears(place, fact.name):
        return edits
    return (*edits, blocks.appended(source, node, f"{fact.name}.grad = None"))


def _copied(source: Source, fact: Rebound, place: Place) -> tuple[Edit, ...]:
    """Copy the new values into the leaf, with gradients off."""
    node = place.node
    places = (ast.Name, ast.Attribute)
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], places):
        raise NoFix("it is no plain assignment")
    regions = [around for around in place.around if isinstance(around, ast.With)]
    guarded = any("no_grad" in ast.unparse(item.context_expr) for region in regions for item in region.items)
    if regions and not guarded:
        raise NoFix("what is around it may have turned gradients off")
    written = source.replace(span_of(node), f"{fact.name}.copy_({source.of(node.value)})")
    return (written,) if guarded else (*modes.under_no_grad(source, fact.span), written)


def _clears(place: Place, name: str) -> bool:
    """Whether the loop around the update clears the gradient itself."""
    loop = next((node for node in reversed(place.around) if isinstance(node, (ast.For, ast.While))), None)
    for part in ast.walk(loop) if loop is not None else ():
        if isinstance(part, ast.Attribute) and part.attr in ("zero_", "zero_grad"):
            return True
        if isinstance(part, ast.Attribute) and part.attr == "grad" and isinstance(part.ctx, (ast.Store, ast.Del)):
            return True
    return False


def asked(source: Source, fact: MissingGradient) -> tuple[Edit, ...]:
    """Clear by None, put ``if w.grad is not None:`` before a statement that clears, or set a gradient that is to be
    added to where there is none.
    """
    place = source.place(fact.span)
    node = place.node
    if fact.form == "number":
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            raise NoFix("more than one thing is assigned")
        return (source.replace(span_of(node.value), "None"),)
    if fact.form == "cleared" and isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
        return (source.replace(span_of(node), _set_or_added(source, node)),)
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or source.of(call.func) != f"{fact.name}.grad.zero_":
        raise NoFix("it is not known what should happen without a gradient")
    return blocks.wrapped(source, [node], f"if {fact.name}.grad is not None:")


def tracked(source: Source, fact: MissingGradient) -> tuple[Edit, ...]:
    """Write ``.requires_grad_()`` behind what a variable is assigned. Raises `NoFix` where it is edited in place."""
    (where, _), *_ = fact.because
    place = source.place(where)
    node = place.node
    if not isinstance(node, ast.Assign) or span_of(node.value) != where or source.of(node.targets[-1]) != fact.name:
        raise NoFix("the tensor is not assigned as it is made")
    for part in ast.walk(place.around[-1]):
        if isinstance(part, ast.AugAssign) and source.of(part.target).partition("[")[0] == fact.name:
            raise NoFix("the tensor is edited in place")
        method = part.func if isinstance(part, ast.Call) else None
        if isinstance(method, ast.Attribute) and method.attr.endswith("_") and source.of(method.value) == fact.name:
            raise NoFix("the tensor is edited in place")
    return (source.behind(node.value, ".requires_grad_()"),)


def _set_or_added(source: Source, node: ast.AugAssign) -> str:
    """Write ``w.grad = g if w.grad is None else w.grad + g`` for ``w.grad += g``."""
    target, value = source.of(node.target), source.of(node.value)
    value = value if isinstance(node.value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) else f"({value})"
    first, sign = (value, "+") if isinstance(node.op, ast.Add) else (f"-{value}", "-")
    return f"{target} = {first} if {target} is None else {target} {sign} {value}"


def unflagged(source: Source, fact: NeedlessFlag) -> tuple[Edit, ...]:
    """Take a flag away. Raises `NoFix` where the statement does more than to set it."""
    place = source.place(fact.span)
    node = place.node
    if fact.form == "argument":
        call = next(
            (part for part in ast.walk(node) if isinstance(part, ast.Call) and span_of(part) == fact.span), None
        )
        last = call.keywords[-1] if call is not None and call.keywords else None
        if call is None or last is None or last.arg != "requires_grad":
            raise NoFix("the flag is not the last argument")
        given = [*call.args, *(word.value for word in call.keywords)]
        if len(given) < 2:
            raise NoFix("there is no other argument")
        return (source.replace((*span_of(given[-2])[2:], *span_of(last.value)[2:]), ""),)
    if fact.state and fact.form == "method":
        return (_without_call(source, node, fact.span),)
    if not isinstance(node, (ast.Assign, ast.Expr)) or (isinstance(node, ast.Assign) and len(node.targets) != 1):
        raise NoFix("the statement does more than to set the flag")
    if isinstance(node, ast.Expr) and source.of(node).partition("(")[0] != f"{fact.name}.requires_grad_":
        raise NoFix("the statement does more than to set the flag")
    if isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Attribute):
        raise NoFix("the statement does more than to set the flag")
    return (blocks.deleted(source, place),)


def _without_call(source: Source, node: ast.AST, span: Span) -> Edit:
    """Take ``.requires_grad_()`` away from the end of an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and span_of(part) == span and isinstance(part.func, ast.Attribute):
            return source.replace((*span_of(part.func.value)[2:], *span[2:]), "")
    raise NoFix("the statement does more than to set the flag")


def cloned(source: Source, fact: AliasedState) -> tuple[Edit, ...]:
    """Write ``{name: value.clone() for name, value in model.state_dict().items()}``."""
    text = source.cut(fact.made)
    return (source.replace(fact.made, f"{{name: value.clone() for name, value in {text}.items()}}"),)
