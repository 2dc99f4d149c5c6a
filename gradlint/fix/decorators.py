"""Edits that turn a block into a decorator, a decorator into a block, or change the order of two."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks
from gradlint.fix.source import FUNCTION, NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts import Decoration, Suspension

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def generator(source: Source, suspension: Suspension) -> tuple[Edit, ...]:
    """Turn the block that a generator consists of into a decorator, which switches the mode at every resume.

    Raises `NoFix` where the generator does something outside of the block.
    """
    place = source.place(suspension.entered)
    function, block = place.function, place.node
    if not isinstance(function, ast.FunctionDef) or not isinstance(block, ast.With):
        raise NoFix("the mode is not set by a block of a plain generator")
    *before, last = blocks.body_of(function)
    if last is not block or not all(_sets_mode(each) for each in before):
        raise NoFix("the generator does something outside of the block")
    context = block.items[0].context_expr
    if len(block.items) != 1 or block.items[0].optional_vars is not None:
        raise NoFix("the block enters something else as well")
    if span_of(context) != suspension.entered or _reads(context) & _variables(function):
        raise NoFix("the context is not known where the function is defined")
    return (blocks.decorated(source, function, source.of(context)), *blocks.unwrapped(source, block))


def _sets_mode(statement: ast.stmt) -> bool:
    """Whether a statement is ``model.eval()`` or ``model.train()``, which may run in any gradient mode."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ("eval", "train")


def relocated(source: Source, decoration: Decoration) -> tuple[Edit, ...]:
    """Put a decorator where it covers the code: below a descriptor, or as a block inside of the function."""
    function = next((node for node in reversed(source.path(decoration.span)) if isinstance(node, FUNCTION)), None)
    if function is None:
        raise NoFix("what is decorated is no function")
    decorator = next((each for each in function.decorator_list if span_of(each) == decoration.span), None)
    if decorator is None:
        raise NoFix("the decorator is not visible")
    removed = _removed(source, decorator)
    context = source.of(decorator)
    if decoration.problem == "descriptor":
        return (removed, blocks.decorated(source, function, context))
    header = f"with {context if isinstance(decorator, ast.Call) else f'{context}()'}:"
    if decoration.problem == "coroutine":
        return (removed, *blocks.wrapped(source, blocks.body_of(function), header))
    if decoration.problem == "context manager" and isinstance(function, ast.FunctionDef):
        return (removed, *_around_yield(source, function, header))
    raise NoFix("the code that runs later is not visible")


def _removed(source: Source, decorator: ast.expr) -> Edit:
    line, column, last, end = span_of(decorator)
    behind = source.line(last).encode()[end:].decode().strip()
    if source.line(line)[:column].strip() != "@" or (behind and not behind.startswith("#")):
        raise NoFix("the decorator shares its line")
    return source.delete_lines(line, last)


def _around_yield(source: Source, function: _Function, header: str) -> tuple[Edit, ...]:
    """Put the only ``yield`` of a context manager under a header of its own."""
    found = [
        statement
        for statement in ast.walk(function)
        if isinstance(statement, (ast.Expr, ast.Assign)) and isinstance(statement.value, ast.Yield)
    ]
    if len(found) != 1 or sum(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function)) != 1:
        raise NoFix("there is more than one `yield`")
    return blocks.wrapped(source, found, header, may_suspend=True)


def _reads(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _variables(function: _Function) -> set[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    stored = {
        part.id for part in ast.walk(function) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)
    }
    return stored | {argument.arg for argument in named if argument is not None}
