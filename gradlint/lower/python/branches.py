"""Lowering conditions and the expressions that branch.

A condition becomes jumps: ``if a and not b:`` tests ``a``, then ``b``, and its suite begins with what is known
there, ``Assume(a, True)`` and ``Assume(b, False)``. A constant condition makes no branch.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.ir.events import Assume, Compare, Copy, Ref, Span
from gradlint.lower.python.dispatch import expression, span_of
from gradlint.lower.python.expressions import value_of
from gradlint.lower.python.frames import Label

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder

COMPARE_OPERATORS: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def condition(builder: GraphBuilder, node: ast.expr, true: Label, false: Label) -> None:
    """Evaluates ``node`` and goes to ``true`` or to ``false``."""
    if isinstance(node, ast.BoolOp):
        is_and = isinstance(node.op, ast.And)
        for operand in node.values[:-1]:
            more = Label()
            condition(builder, operand, *((more, false) if is_and else (true, more)))
            if not builder.place(more):
                return
        condition(builder, node.values[-1], true, false)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        condition(builder, node.operand, false, true)
    elif isinstance(node, ast.Constant):
        builder.goto(true if node.value else false)
    elif isinstance(node, ast.IfExp):
        body, orelse = Label(), Label()
        condition(builder, node.test, body, orelse)
        for label, arm in ((body, node.body), (orelse, node.orelse)):
            if builder.place(label):
                condition(builder, arm, true, false)
    else:
        branch(builder, span_of(node), value_of(builder, node), true, false)


def branch(builder: GraphBuilder, span: Span, cond: Ref, true: Label, false: Label) -> None:
    """Ends the current block with a branch on the truth of ``cond``."""
    source = builder.block
    for truth, label in ((True, true), (False, false)):
        block = builder.new_block()
        source.successors.append(block.index)
        block.events.append(Assume(span, cond, truth))
        ref, known = cond, truth
        while ref in builder.negations:
            ref, known = builder.negations[ref], not known
            block.events.append(Assume(span, ref, known))
        label.pending.append(block)
    builder.at(builder.dead)


@expression("IfExp")
def _conditional(builder: GraphBuilder, node: ast.IfExp) -> Ref:
    body, orelse, end = Label(), Label(), Label()
    condition(builder, node.test, body, orelse)
    dst = builder.new_ref()
    for label, arm in ((body, node.body), (orelse, node.orelse)):
        if builder.place(label):
            _finish_arm(builder, span_of(arm), dst, value_of(builder, arm), end)
    builder.place(end)
    return dst


@expression("BoolOp")
def _boolean(builder: GraphBuilder, node: ast.BoolOp) -> Ref:
    is_and = isinstance(node.op, ast.And)
    dst, end = builder.new_ref(), Label()
    for operand in node.values[:-1]:
        span, value = span_of(operand), value_of(builder, operand)
        more, decided = Label(), Label()
        branch(builder, span, value, *((more, decided) if is_and else (decided, more)))
        builder.place(decided)
        _finish_arm(builder, span, dst, value, end)
        builder.place(more)
    last = node.values[-1]
    _finish_arm(builder, span_of(last), dst, value_of(builder, last), end)
    builder.place(end)
    return dst


@expression("Compare")
def _compare(builder: GraphBuilder, node: ast.Compare) -> Ref:
    span = span_of(node)
    left = value_of(builder, node.left)
    right = value_of(builder, node.comparators[0])
    result = builder.new_ref()
    builder.events.append(Compare(span, result, COMPARE_OPERATORS[node.ops[0].__class__], left, right))
    if len(node.ops) == 1:
        return result
    dst, end = builder.new_ref(), Label()
    for op, comparator in zip(node.ops[1:], node.comparators[1:], strict=True):
        more, decided = Label(), Label()
        branch(builder, span, result, more, decided)
        builder.place(decided)
        _finish_arm(builder, span, dst, result, end)
        builder.place(more)
        left, right = right, value_of(builder, comparator)
        result = builder.new_ref()
        builder.events.append(Compare(span, result, COMPARE_OPERATORS[op.__class__], left, right))
    _finish_arm(builder, span, dst, result, end)
    builder.place(end)
    return dst


def _finish_arm(builder: GraphBuilder, span: Span, dst: Ref, src: Ref, end: Label) -> None:
    builder.events.append(Copy(span, dst, src))
    builder.goto(end)
