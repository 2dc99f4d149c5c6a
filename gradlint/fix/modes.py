"""Edits that change where a gradient mode is in force."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks, names
from gradlint.fix.source import FUNCTION, NoFix, Place, Source, here, span_of
from gradlint.fix.untracked import may_go_untracked

if TYPE_CHECKING:
    from gradlint.facts import Backward, ContextMisuse, Elsewhere, InferenceUse, Leak
    from gradlint.facts.modes import EscapedTensor, VainEnable
    from gradlint.ir.events import Span

_OFF = ("no_grad", "inference_mode")
_BACKWARDS = frozenset({"backward", "manual_backward"})


# -- a mode of its own -------------------------------------------------------------------------------------


def guarded(source: Source, forward: Span | Elsewhere) -> tuple[Edit, ...]:
    """Put the statement around a forward that nobody differentiates under ``no_grad``.

    Raises `NoFix` where the statement computes something else that may be differentiated, or is in another file.
    """
    span = here(forward)
    place = source.place(span)
    may_go_untracked(source, place, span)
    spelling = names.spelling(source, place, "no_grad")
    return (*blocks.wrapped(source, [place.node], f"with {spelling.text}():"), *spelling.edits)


def guarded_whole(source: Source, forward: Span) -> tuple[Edit, ...]:
    """Put ``no_grad`` above the function that a forward stands in, since nobody differentiates anything in it.

    Raises `NoFix` where the forward is not in a plain function.
    """
    function = source.place(forward).function
    if not isinstance(function, ast.FunctionDef):
        raise NoFix("the forward is not in a plain function")
    spelling = names.spelling(source, source.place(span_of(function)), "no_grad")
    return (blocks.decorated(source, function, f"{spelling.text}()"), *spelling.edits)


def entered(source: Source, misuse: ContextMisuse) -> tuple[Edit, ...]:
    """Make a context that is made and dropped, or picked by ``and``, one that is entered."""
    if misuse.form == "short-circuit":
        return _joined(source, misuse.span)
    place = source.place(misuse.span)
    value = getattr(place.node, "value", None)
    stores = isinstance(place.node, ast.Assign) and all(isinstance(each, ast.Name) for each in place.node.targets)
    if not (isinstance(place.node, ast.Expr) or stores) or value is None or span_of(value) != misuse.span:
        raise NoFix("the context is part of something larger")
    if misuse.form not in ("discarded", "unused") or place.function is None:
        raise NoFix("nothing tells what it is meant for")
    rest = place.rest()
    if not misuse.context.endswith("enable_grad") and any(_goes_backward(statement) for statement in rest):
        raise NoFix("the code below goes backward")
    return blocks.headed(source, place, f"with {source.cut(misuse.span)}:", rest)


def _joined(source: Source, context: Span) -> tuple[Edit, ...]:
    """Turn ``with no_grad() and other():`` into ``with no_grad(), other():``."""
    place = source.place(context)
    items = place.node.items if isinstance(place.node, ast.With) else []
    for item in items:
        picked = item.context_expr
        if isinstance(picked, ast.BoolOp) and isinstance(picked.op, ast.And):
            ends = [span_of(value) for value in picked.values]
            if context in ends:
                gaps = [(*one[2:], *other[:2]) for one, other in pairwise(ends)]
                if all(source.cut(gap).strip() == "and" for gap in gaps) and not _is_bracketed(source, picked):
                    return tuple(source.replace(gap, ", ") for gap in gaps)
    raise NoFix("the context is not picked in the header of a block")


def _is_bracketed(source: Source, node: ast.expr) -> bool:
    line, column, _, _ = span_of(node)
    return source.cut((line, 0, line, column)).rstrip().endswith("(")


# -- a mode that stays on ----------------------------------------------------------------------------------


def scoped(source: Source, leak: Leak) -> tuple[Edit, ...]:
    """Turn a statement that sets a mode, and the one behind it that sets it back, into a block.

    Where nothing sets it back, the block goes on to the end of the function.
    """
    place = source.place(leak.span)
    if _switch(place.node) is None or place.function is None:
        raise NoFix("the mode is not set by a plain statement of a function")
    before = [each for each in place.suite[: place.index] if _switch(each) is not None]
    behind = [each for each in place.rest() if _switch(each) is not None]
    if leak.left_mode == "on":
        return _pair(source, source.placed(before[-1], place.around), place.node) if before else _no_pair()
    if behind:
        return _pair(source, place, behind[0])
    if not isinstance(place.around[-1], FUNCTION) or _sets_mode(place.rest()):
        return _no_pair()
    call = _switch(place.node)
    assert call is not None
    return blocks.headed(source, place, f"with {source.of(call)}:", place.rest())


def _no_pair() -> tuple[Edit, ...]:
    raise NoFix("where the mode should end is not visible")


def _pair(source: Source, start: Place, end: ast.stmt) -> tuple[Edit, ...]:
    inside = start.suite[start.index + 1 : start.suite.index(end)]
    opened, closed = _switch(start.node), _switch(end)
    assert opened is not None and closed is not None
    if _sets_mode(inside) or _flag(opened) is not False or _flag(closed) is not True:
        return _no_pair()
    return (
        *blocks.headed(source, start, f"with {source.of(opened)}:", inside),
        source.delete_lines(*blocks.lines_of(source, end)),
    )


def _switch(statement: ast.stmt) -> ast.Call | None:
    """Return the call of ``set_grad_enabled`` that a statement consists of."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return call if isinstance(call, ast.Call) and _last_name(call.func) == "set_grad_enabled" else None


def _flag(call: ast.Call) -> object:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return given[0].value if len(given) == 1 and isinstance(given[0], ast.Constant) else None


def _sets_mode(statements: Iterable[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Call) and _last_name(node.func) in ("set_grad_enabled", "__enter__", "__exit__")
        for statement in statements
        for node in ast.walk(statement)
    )


# -- another mode ------------------------------------------------------------------------------------------


def recording(source: Source, backward: Backward) -> tuple[Edit, ...]:
    """Turn the region in which the target of a backward was computed into one with gradients.

    Raises `NoFix` where the region is not in the same function, and where it edits something in place: with gradients
    on that may be an error.
    """
    if backward.through:
        raise NoFix("gradients are turned off elsewhere")
    here = source.place(backward.span)
    context = backward.target.off or _decorator(here.function)
    place = source.place(context)
    region = place.node
    if region is not here.function and not (isinstance(region, ast.With) and place.function is here.function):
        raise NoFix("gradients are turned off elsewhere")
    assert isinstance(region, (ast.With, *FUNCTION))
    if any(_edits(node) for statement in region.body for node in ast.walk(statement)):
        raise NoFix("the region edits something in place")
    return _renamed(source, place, context, "enable_grad")


def with_gradients(source: Source, span: Span, since: Span | None) -> tuple[Edit, ...]:
    """Turn the ``with`` around what stands at ``span`` into one with gradients.

    Raises `NoFix` where gradients are turned off in another way, and where the region edits something in place.
    """
    if since is None:
        raise NoFix("gradients are turned off elsewhere")
    place = source.place(since)
    if not isinstance(place.node, ast.With) or place.node not in source.path(span):
        raise NoFix("gradients are turned off elsewhere")
    if any(_edits(node) for statement in place.node.body for node in ast.walk(statement)):
        raise NoFix("the region edits something in place")
    return _renamed(source, place, since, "enable_grad")


def without_inference(source: Source, use: InferenceUse | VainEnable) -> tuple[Edit, ...]:
    """Turn the region of inference mode around ``use`` into one without gradients."""
    contexts = list(use.modes.since.values())
    context = contexts[0] if contexts else _decorator(source.place(use.span).function)
    place = source.place(context)
    if not isinstance(place.node, (ast.With, *FUNCTION)):
        raise NoFix("the region is not visible")
    return _renamed(source, place, context, "no_grad")


def left_for_training(source: Source, fact: EscapedTensor) -> tuple[Edit, ...]:
    """Turn the region of inference mode in which a tensor was computed into one without gradients."""
    if fact.since is None:
        raise NoFix("the region is not in sight")
    place = source.place(fact.since)
    if not isinstance(place.node, ast.With):
        raise NoFix("the region is not visible")
    return _renamed(source, place, fact.since, "no_grad")


def _decorator(function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Span:
    """Return where a decorator turns gradients off for a function."""
    for decorator in function.decorator_list if function is not None else ():
        if _last_name(decorator.func if isinstance(decorator, ast.Call) else decorator) in _OFF:
            return span_of(decorator)
    raise NoFix("gradients are turned off elsewhere")


def _renamed(source: Source, place: Place, context: Span, name: str) -> tuple[Edit, ...]:
    """Write another context in the place of one that is made in a header or above a function."""
    node = source.at(context, ast.expr)
    called = isinstance(node, ast.Call)
    func = node.func if isinstance(node, ast.Call) else node
    if _last_name(func) not in (*_OFF, "set_grad_enabled"):
        raise NoFix("the context has another name here")
    spelling = names.spelling(source, place, name)
    return (source.replace(context, f"{spelling.text}{'()' if called else ''}"), *spelling.edits)


def under_no_grad(source: Source, edit: Span) -> tuple[Edit, ...]:
    """Put the statement that edits a tensor in place under ``no_grad``."""
    place = source.place(edit)
    spelling = names.spelling(source, place, "no_grad")
    return (*blocks.wrapped(source, [place.node], f"with {spelling.text}():"), *spelling.edits)


# -- what code does ----------------------------------------------------------------------------------------


def _goes_backward(statement: ast.stmt) -> bool:
    nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
    return any(_last_name(node.func) in _BACKWARDS for node in nodes)


def _edits(node: ast.AST) -> bool:
    """Whether a node edits something in place, as far as its form tells."""
    name = _last_name(node.func) if isinstance(node, ast.Call) else ""
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
