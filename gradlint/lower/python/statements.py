"""Lowering statements."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.ir.events import (
    OPAQUE_REF,
    Await,
    Delete,
    Discard,
    Enter,
    Import,
    Iterate,
    MakeClass,
    MakeFunction,
    Next,
    Opaque,
    Ref,
    Return,
    Span,
    Store,
)
from gradlint.lower.python.branches import condition
from gradlint.lower.python.dispatch import span_of, statement, suite
from gradlint.lower.python.expressions import default_arguments, elements, keyword_arguments, opaque, value_of
from gradlint.lower.python.frames import FinallyFrame, HandlerFrame, Label, WithFrame
from gradlint.lower.python.targets import assign, augment, delete

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder

CATCH_ALL = frozenset({"BaseException", "Exception"})
"""Handlers of these count as taking every exception."""


# -- simple statements -------------------------------------------------------------------------------------


@statement("Expr")
def _expression(builder: GraphBuilder, node: ast.Expr) -> None:
    if node.value.__class__ is not ast.Constant:
        src = value_of(builder, node.value)
        builder.events.append(Discard(span_of(node), src))


@statement("Assign")
def _assign(builder: GraphBuilder, node: ast.Assign) -> None:
    src = value_of(builder, node.value)
    for target in node.targets:
        assign(builder, target, src)


@statement("AnnAssign")
def _annotated_assign(builder: GraphBuilder, node: ast.AnnAssign) -> None:
    target = node.target
    if node.value is not None:
        src = value_of(builder, node.value)
        assign(builder, target, src, builder.source.annotation(node.annotation))
    elif not isinstance(target, ast.Name):
        value_of(builder, target.value)
        if isinstance(target, ast.Subscript):
            value_of(builder, target.slice)


@statement("AugAssign")
def _augmented_assign(builder: GraphBuilder, node: ast.AugAssign) -> None:
    augment(builder, node)


@statement("Delete")
def _delete(builder: GraphBuilder, node: ast.Delete) -> None:
    for target in node.targets:
        delete(builder, target)


@statement("Import")
def _import(builder: GraphBuilder, node: ast.Import) -> None:
    for alias in node.names:
        top = alias.name.partition(".")[0]
        module, bound = (top, top) if alias.asname is None else (alias.name, alias.asname)
        dst = builder.new_ref()
        builder.events.append(Import(span_of(alias), dst, module, None, 0))
        builder.events.append(Store(span_of(alias), bound, dst))


@statement("ImportFrom")
def _import_from(builder: GraphBuilder, node: ast.ImportFrom) -> None:
    for alias in node.names:
        dst = builder.new_ref()
        builder.events.append(Import(span_of(alias), dst, node.module or "", alias.name, node.level))
        if alias.name != "*":
            builder.events.append(Store(span_of(alias), alias.asname or alias.name, dst))


@statement("Pass", "Global", "Nonlocal")
def _nothing(builder: GraphBuilder, node: ast.stmt) -> None:
    """These do nothing when they run; the scopes know about the names."""


@statement("TypeAlias")
def _type_alias(builder: GraphBuilder, node: ast.TypeAlias) -> None:  # type: ignore[name-defined,unused-ignore]
    builder.events.append(Opaque(span_of(node), builder.new_ref(), (), (node.name.id,)))


@statement("Return")
def _return(builder: GraphBuilder, node: ast.Return) -> None:
    src = None if node.value is None else value_of(builder, node.value)
    builder.events.append(Return(span_of(node), src))
    builder.jump(builder.root, builder.ways_out)


@statement("Raise")
def _raise(builder: GraphBuilder, node: ast.Raise) -> None:
    src = None if node.exc is None else value_of(builder, node.exc)
    if node.cause is not None:
        value_of(builder, node.cause)
    builder.raise_(span_of(node), src)


@statement("Assert")
def _assert(builder: GraphBuilder, node: ast.Assert) -> None:
    holds, fails = Label(), Label()
    condition(builder, node.test, holds, fails)
    if builder.place(fails):
        if node.msg is not None:
            value_of(builder, node.msg)
        builder.raise_(span_of(node), OPAQUE_REF)
    builder.place(holds)


# -- branches and loops ------------------------------------------------------------------------------------


@statement("If")
def _if(builder: GraphBuilder, node: ast.If) -> None:
    after = Label()
    while True:
        then, otherwise = Label(), Label()
        condition(builder, node.test, then, otherwise)
        if builder.place(then):
            suite(builder, node.body)
            builder.goto(after)
        builder.place(otherwise)
        if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
            break
        node = node.orelse[0]
    suite(builder, node.orelse)
    builder.goto(after)
    builder.place(after)


@statement("While")
def _while(builder: GraphBuilder, node: ast.While) -> None:
    frame, head = builder.begin_loop("while", span_of(node), None)
    body, otherwise = Label(), Label()
    condition(builder, node.test, body, otherwise)
    builder.place(body)
    suite(builder, node.body)
    builder.end_loop(frame, head)
    builder.place(otherwise)
    suite(builder, node.orelse)
    builder.goto(frame.after)
    builder.place(frame.after)


@statement("For", "AsyncFor")
def _for(builder: GraphBuilder, node: ast.For | ast.AsyncFor) -> None:
    target_span = span_of(node.target)
    iterable = value_of(builder, node.iter)
    iterator = builder.new_ref()
    builder.events.append(Iterate(span_of(node.iter), iterator, iterable))
    frame, head = builder.begin_loop("for", span_of(node), iterator)
    if isinstance(node, ast.AsyncFor):
        builder.events.append(Await(target_span, builder.new_ref(), iterator, "async for"))
    otherwise = Label()
    otherwise.pending.append(head)
    builder.start_block()
    item = builder.new_ref()
    builder.events.append(Next(target_span, item, iterator))
    assign(builder, node.target, item)
    suite(builder, node.body)
    builder.end_loop(frame, head)
    builder.place(otherwise)
    suite(builder, node.orelse)
    builder.goto(frame.after)
    builder.place(frame.after)


@statement("Break")
def _break(builder: GraphBuilder, node: ast.Break) -> None:
    loop = builder.innermost_loop()
    if loop is not None and loop.parent is not None:
        builder.jump(loop.parent, loop.after)


@statement("Continue")
def _continue(builder: GraphBuilder, node: ast.Continue) -> None:
    loop = builder.innermost_loop()
    if loop is not None:
        builder.jump(loop, loop.again)


# -- contexts and exceptions -------------------------------------------------------------------------------


@statement("With", "AsyncWith")
def _with(builder: GraphBuilder, node: ast.With | ast.AsyncWith) -> None:
    is_async = isinstance(node, ast.AsyncWith)
    frames = []
    for item in node.items:
        span = span_of(item.context_expr)
        context = value_of(builder, item.context_expr)
        if is_async:
            builder.events.append(Await(span, builder.new_ref(), context, "async with"))
        entered = builder.new_ref()
        frame = WithFrame(builder.frame, builder.regions, context, span, is_async)
        builder.regions += 1
        builder.events.append(Enter(span, entered, context, frame.region, is_async))
        frames.append((builder.frame, frame))
        builder.enter(frame)
        if item.optional_vars is not None:
            assign(builder, item.optional_vars, entered)
    suite(builder, node.body)
    for outer, frame in reversed(frames):
        frame.exit(builder)
        builder.goto(frame.after)
        builder.frame = outer
        builder.place(frame.after)


@statement("Try", "TryStar")
def _try(builder: GraphBuilder, node: ast.Try) -> None:
    outer = builder.frame
    frame = FinallyFrame(outer, node.finalbody) if node.finalbody else outer
    if node.handlers:
        builder.frame = frame
        _guarded(builder, node)
    else:
        builder.enter(frame)
        suite(builder, node.body)
        suite(builder, node.orelse)
    if frame is not outer:
        builder.enter(outer)
        suite(builder, node.finalbody)


def _guarded(builder: GraphBuilder, node: ast.Try) -> None:
    """Lowers the suites of a ``try`` that has handlers, but for the ``finally`` suite."""
    around, before, done = builder.frame, builder.block, Label()
    frame = HandlerFrame(around)
    builder.enter(frame)
    suite(builder, node.body)
    builder.enter(around)
    suite(builder, node.orelse)
    builder.goto(done)
    if frame.dispatch is None:
        frame.dispatch = builder.new_block()
        before.successors.append(frame.dispatch.index)
    builder.at(frame.dispatch)
    if isinstance(node, ast.Try):
        _handlers(builder, node.handlers, done)
    else:
        _group_handlers(builder, node.handlers, done)
    builder.place(done)


def _handlers(builder: GraphBuilder, handlers: list[ast.ExceptHandler], done: Label) -> None:
    dispatch = builder.block
    for handler in handlers:
        builder.at(dispatch)
        builder.start_block()
        _handler(builder, handler)
        builder.goto(done)
    if not any(map(_takes_all, handlers)):
        dispatch.successors.append(builder.pad_of(builder.frame))


def _group_handlers(builder: GraphBuilder, handlers: list[ast.ExceptHandler], done: Label) -> None:
    """Lowers the handlers of ``except*``: each may run, in order; what one raises comes after the last."""
    around = builder.frame
    for handler in handlers:
        skip = builder.block
        following = HandlerFrame(around)
        following.dispatch = builder.new_block()
        skip.successors.append(following.dispatch.index)
        builder.frame = following
        builder.start_block()
        _handler(builder, handler)
        builder.link(following.dispatch)
        builder.frame = around
        builder.at(following.dispatch)
    builder.block.successors.append(builder.pad_of(around))
    builder.goto(done)


def _handler(builder: GraphBuilder, handler: ast.ExceptHandler) -> None:
    if handler.type is not None:
        value_of(builder, handler.type)
    if handler.name is not None:
        span = span_of(handler)
        builder.events.append(Store(span, handler.name, opaque(builder, span)))
    suite(builder, handler.body)
    if handler.name is not None:
        builder.events.append(Delete(span_of(handler), handler.name))


def _takes_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None
        or (isinstance(kind, ast.Name) and kind.id in CATCH_ALL)
        or (isinstance(kind, ast.Attribute) and kind.attr in CATCH_ALL)
        for kind in kinds
    )


# -- definitions -------------------------------------------------------------------------------------------


@statement("FunctionDef", "AsyncFunctionDef")
def _function(builder: GraphBuilder, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    decorators = [value_of(builder, decorator) for decorator in node.decorator_list]
    defaults = default_arguments(builder, node.args)
    body = builder.source.bodies[node]
    dst = builder.new_ref()
    builder.events.append(MakeFunction(body.span, dst, body, defaults))
    _bind_decorated(builder, body.name_span, node.name, dst, decorators, node.decorator_list)


@statement("ClassDef")
def _class(builder: GraphBuilder, node: ast.ClassDef) -> None:
    decorators = [value_of(builder, decorator) for decorator in node.decorator_list]
    bases, _ = elements(builder, node.bases)
    keywords = keyword_arguments(builder, node.keywords)
    body = builder.source.bodies[node]
    dst = builder.new_ref()
    builder.events.append(MakeClass(body.span, dst, body, bases, keywords))
    _bind_decorated(builder, body.name_span, node.name, dst, decorators, node.decorator_list)


def _bind_decorated(
    builder: GraphBuilder, span: Span, name: str, value: Ref, decorators: list[Ref], nodes: list[ast.expr]
) -> None:
    for decorator, node in zip(reversed(decorators), reversed(nodes), strict=True):
        value = builder.call(span_of(node), decorator, (value,))
    builder.events.append(Store(span, name, value))
