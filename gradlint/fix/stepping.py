"""Edits of where gradients are cleared."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks
from gradlint.fix.source import FUNCTION, NoFix, Place, Source, here, span_of

if TYPE_CHECKING:
    from gradlint.facts import Uncleared, Wiped
    from gradlint.facts.protocol import EarlyStep, KeptTensors, MisplacedClip, ScalerMisuse, Summed

_LOOPS = (ast.For, ast.While)
_BACKWARDS = frozenset({"backward", "manual_backward"})


def cleared(source: Source, fact: Uncleared) -> tuple[Edit, ...]:
    """Clear the gradients in front of the backward that adds to them.

    Raises `NoFix` where another backward may have filled them for the same step, and where step and backward do not
    stand in one suite of a loop.
    """
    place = source.place(fact.span)
    if not _is_path(fact.optimizer):
        raise NoFix("the optimizer has no name here")
    steps = [each for each in place.rest() if _steps(source, each, fact.optimizer)]
    if not steps or not isinstance(place.node, ast.Expr):
        raise NoFix("the step is not in the same block")
    for before in _before(source, place):
        if _calls(before, {"step"}):
            break
        if _calls(before, _BACKWARDS):
            raise NoFix("another backward fills the same gradients")
    return (blocks.inserted(source, place.node, f"{fact.optimizer}.zero_grad()"),)


def _before(source: Source, place: Place) -> Iterator[ast.stmt]:
    """Yield the statements that run before ``place`` in one iteration of the loop around it, the nearest first."""
    while True:
        yield from reversed(place.suite[: place.index])
        around = place.around[-1]
        if isinstance(around, _LOOPS):
            return
        if not isinstance(around, ast.stmt) or isinstance(around, (*FUNCTION, ast.ClassDef)):
            raise NoFix("there is no loop around")
        place = source.placed(around, place.around[:-1])


def moved(source: Source, fact: Wiped) -> tuple[Edit, ...]:
    """Put a call that clears gradients too early, or too often, where it belongs."""
    place = source.place(fact.span)
    if not isinstance(place.node, ast.Expr) or source.of(place.node) != fact.call:
        raise NoFix("the call is part of something larger")
    backward, step = source.place(fact.because[0][0]), source.place(fact.because[1][0])
    if fact.form == "between":
        return _before_backward(source, place, backward, step)
    if fact.form == "micro-batch":
        return _behind_step(source, place, step)
    return _into_closure(source, place, backward)


def before_step(source: Source, fact: MisplacedClip) -> tuple[Edit, ...]:
    """Put a call that clips in front of the step, or under a condition where accelerate decides when that is.

    Raises `NoFix` where step and call are not statements of one function.
    """
    place, step = source.place(fact.span), source.place(here(fact.because[-1][0]))
    if not isinstance(place.node, ast.Expr) or source.cut(fact.span) != source.of(place.node):
        raise NoFix("the norm is used")
    if fact.detail:
        return blocks.wrapped(source, [place.node], f"if {fact.detail}.sync_gradients:")
    if step.function is not place.function or not isinstance(step.node, (ast.Expr, ast.Assign)):
        raise NoFix("the step is not a statement of the same function")
    return (blocks.deleted(source, place), blocks.inserted(source, step.node, source.of(place.node)))


def unscaled(source: Source, fact: ScalerMisuse) -> tuple[Edit, ...]:
    """Unscale the gradients in front of the call that clips them. Raises `NoFix` where the optimizer is not known."""
    place, step = source.place(fact.span), source.place(here(fact.because[-1][0]))
    calls = [
        node for node in ast.walk(step.node) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    given = [source.of(node.args[0]) for node in calls if node.func.attr == "step" and node.args]  # type: ignore[attr-defined]
    if len(given) != 1 or not _is_path(given[0]) or step.function is not place.function:
        raise NoFix("the optimizer has no name here")
    if not _is_path(fact.scaler):
        raise NoFix("the scaler has no name here")
    return (blocks.inserted(source, place.node, f"{fact.scaler}.unscale_({given[0]})"),)


def divided(source: Source, fact: Summed) -> tuple[Edit, ...]:
    """Divide the loss that a backward starts from. Raises `NoFix` where it or the number has no name."""
    place = source.place(fact.span)
    call = place.node.value if isinstance(place.node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not _is_path(fact.number):
        raise NoFix("the call is part of something larger")
    inner = call.func.value
    if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "scale":
        if len(inner.args) != 1:
            raise NoFix("what is scaled is not visible")
        return (source.behind(inner.args[0], f" / {fact.number}"),)
    if not isinstance(inner, (ast.Name, ast.Attribute)):
        raise NoFix("the loss has no name")
    line, column, _, _ = span_of(inner)
    return (source.insert(line, column, "("), source.behind(inner, f" / {fact.number})"))


def behind_backward(source: Source, fact: EarlyStep) -> tuple[Edit, ...]:
    """Put a step behind the backward. Raises `NoFix` where the two are not statements of one block."""
    place, backward = source.place(fact.span), source.place(here(fact.because[-1][0]))
    if (
        not isinstance(place.node, ast.Expr)
        or backward.suite is not place.suite
        or not isinstance(backward.node, ast.Expr)
    ):
        raise NoFix("step and backward do not stand in one block")
    return (blocks.deleted(source, place), blocks.appended(source, backward.node, source.of(place.node)))


def dropped(source: Source, fact: KeptTensors) -> tuple[Edit, ...]:
    """Take ``set_to_none=False`` away. Raises `NoFix` where other arguments are given."""
    call = source.at(fact.span, ast.Call)
    if call.args or len(call.keywords) != 1:
        raise NoFix("there are other arguments")
    return (source.replace(fact.span, f"{source.of(call.func)}()"),)


def _before_backward(source: Source, place: Place, backward: Place, step: Place) -> tuple[Edit, ...]:
    if backward.suite is not place.suite or step.suite is not place.suite:
        raise NoFix("backward and step do not stand in one block")
    if any(_calls(each, _BACKWARDS) for each in place.suite[: place.index] if each is not backward.node):
        raise NoFix("another backward fills the same gradients")
    return (blocks.deleted(source, place), blocks.inserted(source, backward.node, source.of(place.node)))


def _behind_step(source: Source, place: Place, step: Place) -> tuple[Edit, ...]:
    if not isinstance(step.node, ast.Expr) or step.function is not place.function:
        raise NoFix("the step is not a statement of the same function")
    return (blocks.deleted(source, place), blocks.appended(source, step.node, source.of(place.node)))


def _into_closure(source: Source, place: Place, backward: Place) -> tuple[Edit, ...]:
    closure = backward.function
    if closure is None or place.function not in backward.around or closure is place.function:
        raise NoFix("the closure is not visible")
    first = blocks.body_of(closure)[0]
    return (blocks.deleted(source, place), blocks.inserted(source, first, source.of(place.node)))


def _steps(source: Source, statement: ast.stmt, optimizer: str) -> bool:
    """Whether a simple statement makes a step of ``optimizer``, by itself or through a scaler."""
    if not isinstance(statement, (ast.Expr, ast.Assign)):
        return False
    return any(
        optimizer in (source.of(node.func.value), *(source.of(argument) for argument in node.args))
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"
    )


def _calls(statement: ast.stmt, names: Sequence[str] | set[str] | frozenset[str]) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr in names for node in ast.walk(statement))


def _is_path(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))
