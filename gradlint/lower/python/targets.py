"""Lowering targets: what is assigned to, edited in place, or deleted."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.ir.events import Attr, Augment, Delete, Item, Load, Ref, SetAttr, SetItem, Store, Unpack
from gradlint.lower.python.dispatch import span_of
from gradlint.lower.python.expressions import BINARY_OPERATORS, value_of

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder


def assign(builder: GraphBuilder, target: ast.expr, src: Ref, annotation: str | None = None) -> None:
    """Writes ``src`` to a target, destructuring it where the target is a tuple or list."""
    span = span_of(target)
    if isinstance(target, ast.Name):
        builder.events.append(Store(span, builder.renames.get(target.id, target.id), src, annotation))
    elif isinstance(target, ast.Attribute):
        obj = value_of(builder, target.value)
        builder.events.append(SetAttr(span, obj, target.attr, src))
    elif isinstance(target, ast.Subscript):
        obj = value_of(builder, target.value)
        key = value_of(builder, target.slice)
        builder.events.append(SetItem(span, obj, key, src))
    elif isinstance(target, ast.Starred):
        assign(builder, target.value, src)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part, ref in zip(target.elts, unpack(builder, target.elts, src, ast.Starred), strict=True):
            assign(builder, part, ref)


def unpack(
    builder: GraphBuilder, parts: list[ast.expr] | list[ast.pattern], src: Ref, star: type[ast.AST]
) -> list[Ref]:
    """Takes ``src`` apart, one temporary for each of ``parts``; a part of type ``star`` takes any number."""
    refs = []
    known = True
    for index, part in enumerate(parts):
        known = known and not isinstance(part, star)
        ref = builder.new_ref()
        builder.events.append(Unpack(span_of(part), ref, src, index if known else None, len(parts)))
        refs.append(ref)
    return refs


def augment(builder: GraphBuilder, node: ast.AugAssign) -> None:
    """Reads the target, evaluates the value, edits, and writes the result back."""
    target, span = node.target, span_of(node.target)
    if isinstance(target, ast.Name):
        name = builder.renames.get(target.id, target.id)
        old = builder.new_ref()
        builder.events.append(Load(span, old, name))
        new = _edit(builder, node, old, name)
        builder.events.append(Store(span, name, new))
    elif isinstance(target, ast.Attribute):
        obj = value_of(builder, target.value)
        old = builder.new_ref()
        builder.events.append(Attr(span, old, obj, target.attr))
        new = _edit(builder, node, old, None)
        builder.events.append(SetAttr(span, obj, target.attr, new))
    else:
        obj = value_of(builder, target.value)
        key = value_of(builder, target.slice)
        old = builder.new_ref()
        builder.events.append(Item(span, old, obj, key))
        new = _edit(builder, node, old, None)
        builder.events.append(SetItem(span, obj, key, new))


def _edit(builder: GraphBuilder, node: ast.AugAssign, old: Ref, name: str | None) -> Ref:
    value = value_of(builder, node.value)
    new = builder.new_ref()
    builder.events.append(Augment(span_of(node), new, BINARY_OPERATORS[node.op.__class__], old, value, name))
    return new


def delete(builder: GraphBuilder, target: ast.expr) -> None:
    """Deletes a target."""
    span = span_of(target)
    if isinstance(target, ast.Name):
        builder.events.append(Delete(span, builder.renames.get(target.id, target.id)))
    elif isinstance(target, ast.Attribute):
        obj = value_of(builder, target.value)
        builder.events.append(Delete(span, target.attr, obj))
    elif isinstance(target, ast.Subscript):
        obj = value_of(builder, target.value)
        value_of(builder, target.slice)
        builder.events.append(Delete(span, None, obj))
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            delete(builder, part)
