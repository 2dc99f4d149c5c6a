"""Lowering comprehensions (loops in the body around them) and generator expressions (bodies of their own)."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from gradlint.ir.events import Await, Build, Iterate, Load, MakeFunction, Next, Ref, Yield
from gradlint.lower.python.branches import condition
from gradlint.lower.python.dispatch import expression, span_of
from gradlint.lower.python.expressions import value_of
from gradlint.lower.python.frames import Label
from gradlint.lower.python.names import target_names
from gradlint.lower.python.targets import assign

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder

FIRST_ITERABLE = ".0"
"""The parameter of a generator expression that holds its first iterable, evaluated where it is written."""


@expression("ListComp")
def _list_comprehension(builder: GraphBuilder, node: ast.ListComp) -> Ref:
    return _collect(builder, "list", node, node.generators, node.elt)


@expression("SetComp")
def _set_comprehension(builder: GraphBuilder, node: ast.SetComp) -> Ref:
    return _collect(builder, "set", node, node.generators, node.elt)


@expression("DictComp")
def _dict_comprehension(builder: GraphBuilder, node: ast.DictComp) -> Ref:
    return _collect(builder, "dict", node, node.generators, node.value, node.key)


def _collect(
    builder: GraphBuilder,
    kind: str,
    node: ast.expr,
    generators: list[ast.comprehension],
    element: ast.expr,
    key: ast.expr | None = None,
) -> Ref:
    outer = builder.renames
    first = value_of(builder, generators[0].iter)
    targets: set[str] = set()
    for generator in generators:
        target_names(generator.target, targets)
    names = {name: f"{name}@{node.lineno}:{node.col_offset}" for name in targets}
    builder.comprehension_names.update(names.values())
    builder.renames = {**outer, **names}
    keys: list[Ref] = []
    items: list[Ref] = []

    def add() -> None:
        if key is not None:
            keys.append(value_of(builder, key))
        items.append(value_of(builder, element))

    _loops(builder, generators, first, add)
    builder.renames = outer
    dst = builder.new_ref()
    builder.events.append(Build(span_of(node), dst, kind, tuple(items), tuple(keys)))
    return dst


@expression("GeneratorExp")
def _generator_expression(builder: GraphBuilder, node: ast.GeneratorExp) -> Ref:
    first = value_of(builder, node.generators[0].iter)
    body = builder.source.generator_body(node, builder.body, builder.renames)
    dst = builder.new_ref()
    builder.events.append(MakeFunction(span_of(node), dst, body, ((FIRST_ITERABLE, first),)))
    return dst


def generate(builder: GraphBuilder, node: ast.GeneratorExp) -> None:
    """Lowers the body of a generator expression."""
    first = builder.new_ref()
    builder.events.append(Load(span_of(node.generators[0].iter), first, FIRST_ITERABLE))
    span = span_of(node.elt)

    def hand_out() -> None:
        src = value_of(builder, node.elt)
        builder.events.append(Yield(span, builder.new_ref(), src))

    _loops(builder, node.generators, first, hand_out)


def _loops(
    builder: GraphBuilder, generators: list[ast.comprehension], first: Ref, innermost: Callable[[], None]
) -> None:
    """Lowers the loops of ``generators`` around the element; the iterable of the first is already evaluated."""
    generator, *inner = generators
    iterable = generator.iter
    span = span_of(iterable)
    iterator = builder.new_ref()
    builder.events.append(Iterate(span, iterator, first))
    frame, head = builder.begin_loop("comprehension", span_of(generator.target), iterator)
    if generator.is_async:
        builder.events.append(Await(span, builder.new_ref(), iterator, "async for"))
    builder.start_block()
    item = builder.new_ref()
    builder.events.append(Next(span_of(generator.target), item, iterator))
    assign(builder, generator.target, item)
    for test in generator.ifs:
        passed = Label()
        condition(builder, test, passed, frame.again)
        builder.place(passed)
    if builder.block is not builder.dead:
        if inner:
            _loops(builder, inner, value_of(builder, inner[0].iter), innermost)
        else:
            innermost()
    builder.end_loop(frame, head)
    frame.after.pending.append(head)
    builder.place(frame.after)
