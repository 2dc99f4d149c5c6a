"""Edits of where gradients are cleared."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks
from gradlint.fix.source import FUNCTION, NoFix, Place, Source

if TYPE_CHECKING:
    from gradlint.facts import Uncleared, Wiped

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
