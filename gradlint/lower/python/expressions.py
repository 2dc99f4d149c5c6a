"""Lowering expressions without control flow: each function returns the temporary that holds the value.

Operands are evaluated before their operator and in the order of Python. What branches (``and``, ``or``,
conditional expressions, chained comparisons) is in ``branches``; comprehensions are in ``comprehensions``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.ir.events import (
    Attr,
    Await,
    Binary,
    Build,
    Const,
    Item,
    Load,
    MakeFunction,
    Opaque,
    Ref,
    Store,
    Unary,
    Yield,
)
from gradlint.lower.python.dispatch import EXPRESSIONS, expression, span_of

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.lower.python.graph import GraphBuilder

LONG_LITERAL = 256
"""A literal collection of more constants than this is a data table: nothing is said about its elements."""

BINARY_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.MatMult: "@",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.BitAnd: "&",
}
UNARY_OPERATORS: dict[type[ast.AST], str] = {ast.UAdd: "+", ast.USub: "-", ast.Invert: "~", ast.Not: "not"}

NO_POSITIONS: frozenset[int] = frozenset()


@expression("Name")
def _name(builder: GraphBuilder, node: ast.Name) -> Ref:
    dst = builder.refs
    builder.refs = dst + 1
    name = node.id
    if builder.renames:
        name = builder.renames.get(name, name)
    builder.events.append(
        Load((node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0), dst, name)
    )
    return dst


@expression("Constant")
def _constant(builder: GraphBuilder, node: ast.Constant) -> Ref:
    dst = builder.refs
    builder.refs = dst + 1
    builder.events.append(
        Const((node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0), dst, node.value)
    )
    return dst


@expression("Attribute")
def _attribute(builder: GraphBuilder, node: ast.Attribute) -> Ref:
    value = node.value
    obj = EXPRESSIONS[value.__class__](builder, value)
    dst = builder.refs
    builder.refs = dst + 1
    builder.events.append(
        Attr((node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0), dst, obj, node.attr)
    )
    return dst


@expression("Call")
def _call(builder: GraphBuilder, node: ast.Call) -> Ref:
    function = node.func
    func = EXPRESSIONS[function.__class__](builder, function)
    args, starred = elements(builder, node.args)
    keywords = keyword_arguments(builder, node.keywords)
    return builder.call(span_of(node), func, args, keywords, starred)


@expression("Subscript")
def _subscript(builder: GraphBuilder, node: ast.Subscript) -> Ref:
    obj = value_of(builder, node.value)
    key = value_of(builder, node.slice)
    dst = builder.new_ref()
    builder.events.append(Item(span_of(node), dst, obj, key))
    return dst


@expression("BinOp")
def _binary(builder: GraphBuilder, node: ast.BinOp) -> Ref:
    left = EXPRESSIONS[node.left.__class__](builder, node.left)
    right = EXPRESSIONS[node.right.__class__](builder, node.right)
    dst = builder.new_ref()
    builder.events.append(Binary(span_of(node), dst, BINARY_OPERATORS[node.op.__class__], left, right))
    return dst


@expression("UnaryOp")
def _unary(builder: GraphBuilder, node: ast.UnaryOp) -> Ref:
    src = EXPRESSIONS[node.operand.__class__](builder, node.operand)
    dst = builder.new_ref()
    op = UNARY_OPERATORS[node.op.__class__]
    if op == "not":
        builder.negations[dst] = src
    builder.events.append(Unary(span_of(node), dst, op, src))
    return dst


@expression("Tuple")
def _tuple(builder: GraphBuilder, node: ast.Tuple) -> Ref:
    return _sequence(builder, "tuple", node, node.elts)


@expression("List")
def _list(builder: GraphBuilder, node: ast.List) -> Ref:
    return _sequence(builder, "list", node, node.elts)


@expression("Set")
def _set(builder: GraphBuilder, node: ast.Set) -> Ref:
    return _sequence(builder, "set", node, node.elts)


def _sequence(builder: GraphBuilder, kind: str, node: ast.expr, nodes: list[ast.expr]) -> Ref:
    if _is_table(nodes):
        return opaque(builder, span_of(node))
    items, starred = elements(builder, nodes)
    dst = builder.new_ref()
    builder.events.append(Build(span_of(node), dst, kind, items, (), starred))
    return dst


@expression("Dict")
def _dict(builder: GraphBuilder, node: ast.Dict) -> Ref:
    if _is_table(node.values):
        return opaque(builder, span_of(node))
    keys: list[Ref | None] = []
    items = []
    for key, value in zip(node.keys, node.values, strict=True):
        keys.append(None if key is None else value_of(builder, key))
        items.append(value_of(builder, value))
    dst = builder.new_ref()
    builder.events.append(Build(span_of(node), dst, "dict", tuple(items), tuple(keys)))
    return dst


@expression("Starred")
def _starred(builder: GraphBuilder, node: ast.Starred) -> Ref:
    return value_of(builder, node.value)


@expression("Slice")
def _slice(builder: GraphBuilder, node: ast.Slice) -> Ref:
    items = tuple([value_of(builder, part) for part in (node.lower, node.upper, node.step) if part is not None])
    dst = builder.new_ref()
    builder.events.append(Build(span_of(node), dst, "slice", items))
    return dst


@expression("JoinedStr", "TemplateStr")
def _joined_string(builder: GraphBuilder, node: ast.JoinedStr) -> Ref:
    items = tuple([value_of(builder, part) for part in node.values if part.__class__ is not ast.Constant])
    dst = builder.new_ref()
    builder.events.append(Build(span_of(node), dst, "string", items))
    return dst


@expression("FormattedValue", "Interpolation")
def _formatted_value(builder: GraphBuilder, node: ast.FormattedValue) -> Ref:
    value = value_of(builder, node.value)
    if node.format_spec is not None:
        value_of(builder, node.format_spec)
    return value


@expression("NamedExpr")
def _named(builder: GraphBuilder, node: ast.NamedExpr) -> Ref:
    value = value_of(builder, node.value)
    name = builder.renames.get(node.target.id, node.target.id)
    builder.events.append(Store(span_of(node.target), name, value))
    return value


@expression("Lambda")
def _lambda(builder: GraphBuilder, node: ast.Lambda) -> Ref:
    defaults = default_arguments(builder, node.args)
    body = builder.source.lambda_body(node, builder.body, builder.renames)
    dst = builder.new_ref()
    builder.events.append(MakeFunction(span_of(node), dst, body, defaults))
    return dst


@expression("Await")
def _await(builder: GraphBuilder, node: ast.Await) -> Ref:
    src = value_of(builder, node.value)
    dst = builder.new_ref()
    builder.events.append(Await(span_of(node), dst, src))
    return dst


@expression("Yield")
def _yield(builder: GraphBuilder, node: ast.Yield) -> Ref:
    src = none(builder, span_of(node)) if node.value is None else value_of(builder, node.value)
    dst = builder.new_ref()
    builder.events.append(Yield(span_of(node), dst, src))
    return dst


@expression("YieldFrom")
def _yield_from(builder: GraphBuilder, node: ast.YieldFrom) -> Ref:
    src = value_of(builder, node.value)
    dst = builder.new_ref()
    builder.events.append(Yield(span_of(node), dst, src, True))
    return dst


# -- parts that statements need too ------------------------------------------------------------------------


def value_of(builder: GraphBuilder, node: ast.expr) -> Ref:
    """Lowers an expression."""
    return EXPRESSIONS[node.__class__](builder, node)


def elements(builder: GraphBuilder, nodes: list[ast.expr]) -> tuple[tuple[Ref, ...], frozenset[int]]:
    """Lowers the elements of a display or the arguments of a call; returns them and the positions of the starred."""
    starred = NO_POSITIONS
    refs: list[Ref] = []
    for node in nodes:
        kind = node.__class__
        if kind is ast.Starred:
            starred |= {len(refs)}
        refs.append(EXPRESSIONS[kind](builder, node))
    return tuple(refs), starred


def keyword_arguments(builder: GraphBuilder, nodes: list[ast.keyword]) -> tuple[tuple[str | None, Ref], ...]:
    """Lowers the keyword arguments of a call or class."""
    if not nodes:
        return ()
    return tuple([(node.arg, EXPRESSIONS[node.value.__class__](builder, node.value)) for node in nodes])


def default_arguments(builder: GraphBuilder, arguments: ast.arguments) -> tuple[tuple[str, Ref], ...]:
    """Lowers the defaults of parameters, each with the name of its parameter."""
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = []
    if arguments.defaults:
        pairs += zip(positional[-len(arguments.defaults) :], arguments.defaults, strict=True)
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple([(parameter.arg, value_of(builder, node)) for parameter, node in pairs if node is not None])


def opaque(builder: GraphBuilder, span: Span) -> Ref:
    """A value of which nothing is known."""
    dst = builder.new_ref()
    builder.events.append(Opaque(span, dst, (), ()))
    return dst


def none(builder: GraphBuilder, span: Span) -> Ref:
    """The value None."""
    dst = builder.new_ref()
    builder.events.append(Const(span, dst, None))
    return dst


def _is_table(nodes: list[ast.expr]) -> bool:
    return len(nodes) > LONG_LITERAL and all(node.__class__ is ast.Constant for node in nodes)
