"""Edits that take a value off the graph where it must not stand on it, or leave it on where it must."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.leaves import ArrayUse, LostGraph, NoLeaf, RefusedFlag
    from gradlint.ir.events import Span


def before_array(source: Source, use: ArrayUse) -> tuple[Edit, ...]:
    """Detach the tensor that is made an array. Raises `NoFix` where what is given holds tensors."""
    call = source.at(use.span, ast.Call)
    if use.inside:
        raise NoFix("what is made an array holds tensors")
    if use.method and isinstance(call.func, ast.Attribute):
        return detached(source, call.func.value)
    value = next((arg for arg in call.args if span_of(arg) == use.target.span), None)
    if value is None:
        raise NoFix("the tensor is not among the arguments")
    return detached(source, value)


def kept(source: Source, cut: LostGraph) -> tuple[Edit, ...]:
    """Leave out the operation that cuts. Raises `NoFix` where it does more than that."""
    if cut.form not in ("", "list"):
        raise NoFix("what it makes is cut off once more")
    node = next((node for node in reversed(source.path(cut.span)) if span_of(node) == cut.span), None)
    if isinstance(node, ast.Attribute) and node.attr == "data":
        return (_without(source, node, node.value),)
    if not isinstance(node, ast.Call) or node.keywords:
        raise NoFix("the operation does more than to cut")
    if isinstance(node.func, ast.Attribute) and node.func.attr == "item" and not node.args:
        return (_without(source, node, _inner(node.func.value)),)
    function = source.of(node.func)
    if function == "float" and len(node.args) == 1:
        return (_alone(source, node, node.args[0]),)
    if function in ("torch.tensor", "torch.FloatTensor") and len(node.args) == 1:
        listed = isinstance(node.args[0], (ast.List, ast.ListComp)) or "list" in cut.form
        return (source.replace(span_of(node.func), "torch.stack"),) if listed else (_alone(source, node, node.args[0]),)
    raise NoFix("what should stand there instead is not known")


def _inner(node: ast.expr) -> ast.expr:
    """What ``.detach()`` or ``.data`` is applied to: without them too, nothing is cut."""
    if isinstance(node, ast.Attribute) and node.attr == "data":
        return node.value
    call = node if isinstance(node, ast.Call) and not node.args and not node.keywords else None
    if call is not None and isinstance(call.func, ast.Attribute) and call.func.attr in ("detach", "cpu"):
        return _inner(call.func.value)
    return node


def _without(source: Source, node: ast.expr, value: ast.expr) -> Edit:
    """Take away what stands behind ``value`` in ``node``."""
    return source.replace((*span_of(value)[2:], *span_of(node)[2:]), "")


def _alone(source: Source, node: ast.expr, value: ast.expr) -> Edit:
    """``value`` in the place of ``node``."""
    text = source.of(value)
    simple = isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    return source.replace(span_of(node), text if simple else f"({text})")


def detached(source: Source, value: ast.expr) -> tuple[Edit, ...]:
    """Write ``.detach()`` behind an expression."""
    if isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        return (source.behind(value, ".detach()"),)
    return (source.replace(span_of(value), f"({source.of(value)}).detach()"),)


def argument(source: Source, span: Span) -> tuple[Edit, ...]:
    """Detach the expression at ``span``."""
    return detached(source, source.at(span, ast.expr))


def instead_of_flag(source: Source, flag: RefusedFlag) -> tuple[Edit, ...]:
    """Assign the detached tensor where its flag is set to False. Raises `NoFix` for any other flag."""
    place = source.place(flag.span)
    alone = isinstance(place.node, ast.Assign) or (
        isinstance(place.node, ast.Expr) and span_of(place.node) == flag.span
    )
    if flag.value is not False or not flag.name.isidentifier() or not alone:
        raise NoFix("what should stand there instead is not known")
    return (source.replace(span_of(place.node), f"{flag.name} = {flag.name}.detach()"),)


def retained(source: Source, read: NoLeaf) -> tuple[Edit, ...]:
    """Call ``retain_grad()`` behind the assignment of a tensor. Raises `NoFix` where it is not assigned to its name."""
    if read.made is None:
        raise NoFix("where it is computed is not known")
    node = source.place(read.made).node
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    if target is None or source.of(target) != read.name or node.end_lineno is None:
        raise NoFix("it is not assigned to the name by which its gradient is read")
    if source.line(node.end_lineno).rstrip().endswith("\\") or ";" in source.line(node.end_lineno):
        raise NoFix("more stands on the line")
    return (source.behind(node, f"\n{source.indent(node.lineno)}{read.name}.retain_grad()"),)


def reparametrized(source: Source, cut: LostGraph) -> tuple[Edit, ...]:
    """Call ``rsample``. Raises `NoFix` for distributions that may have none."""
    call = source.at(cut.span, ast.Call)
    if not isinstance(call.func, ast.Attribute) or not cut.form:
        raise NoFix("the distribution may have no `rsample`")
    line, column = call.func.end_lineno or 0, call.func.end_col_offset or 0
    return (source.replace((line, column - len(call.func.attr), line, column), "rsample"),)
