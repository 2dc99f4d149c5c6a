"""What is worth telling: whether a function or a class says more than one of which nothing is known."""

from __future__ import annotations

from collections.abc import Iterable

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import GRAD, PARAMETER, TENSOR
from gradlint.linking.interface import (
    Anything,
    Caller,
    Constant,
    Effect,
    Ends,
    Function,
    Given,
    Made,
    Named,
    Several,
    Thing,
)
from gradlint.linking.results import HANDED_ON

PASSED = "passed"
"""The use of something that is given to code out of sight (`gradlint.project.values.uses`)."""
EDIT, TOUCH = "edit", "touch"
"""Kinds of effects; see `gradlint.linking.interface.Effect`."""
TENSORS = (TENSOR, PARAMETER, GRAD)
PLAIN = (
    "builtins.",
    "abc.",
    "collections.",
    "contextlib.",
    "enum.",
    "typing.",
    "typing_extensions.",
    "torch.utils.data.",
)
"""What lies outside of the project and has nothing to do with gradients."""


def function_tells(function: Function) -> bool:
    """Whether something is known of a function that one out of sight would not be taken to do."""
    return bool(
        acts(function)
        or function.frozen
        or any(effect.kind == EDIT for effect in function.effects)
        or any(thing_tells(thing) for things in function.returns for thing in things)
        or any(use_tells(kind, sure) for uses in function.parameter_uses.values() for kind, _, sure in uses)
    )


def acts(function: Function) -> bool:
    """Whether a function does something about gradients: this alone makes the class of a method worth telling.

    To edit a thing in place is none of it: most methods that do so count something.
    """
    return bool(
        function.wrappers
        or any(effect.kind != EDIT and effect_tells(effect) for effect in function.effects)
        or function.graphed
        or function.callbacks
        or (not function.abstract and any(ends_elsewhere(entry, ends) for entry, ends in function.ends))
        or differentiates(function)
    )


def differentiates(function: Function) -> bool:
    """Whether all that a function returns is on the graph, or was taken off it."""
    returned = [thing for things in function.returns for thing in things if not isinstance(thing, Constant)]
    placed = (isinstance(thing, Made) and is_placed(thing) and thing.graph & ~tensor.PLAIN for thing in returned)
    return bool(returned) and all(placed)


def effect_tells(effect: Effect) -> bool:
    """Whether an effect is other than what code out of sight may have: to touch anything."""
    return effect.kind != TOUCH or any(not isinstance(thing, Anything) for thing in effect.what)


def ends_elsewhere(entry: int, ends: Ends) -> bool:
    """Whether a function that is entered in the mode ``entry`` does not return, or leaves or hands out another mode."""
    exits, raises, yields = (grad_mode.resolve(modes, entry) for modes in (ends.exits, ends.raises, ends.yields))
    moved = any(grad_mode.resolve(after, mode) != mode for mode, after in ends.resumed)
    return exits != entry or raises not in (0, entry) or yields not in (0, entry) or moved


def use_tells(kind: str, sure: bool) -> bool:
    """Whether a use is other than what code out of sight is taken to make of something that it is given."""
    return kind != PASSED and (sure or kind not in HANDED_ON)


def thing_tells(thing: Thing) -> bool:
    """Whether a value is known well enough to make a difference."""
    if isinstance(thing, (Given, Named)):
        return True
    if isinstance(thing, Several):
        return any(thing_tells(part) for item in thing.items for part in item)
    return isinstance(thing, Made) and made_tells(thing)


def made_tells(made: Made) -> bool:
    """Whether an object is an instance of a class that is known, holds something known, or `is_placed`."""
    return bool(made.of) or "." in made.kind or any(map(thing_tells, made.holds)) or is_placed(made)


def is_placed(made: Made) -> bool:
    """Whether an object is a tensor on the graph or off it for certain."""
    certain = not made.graph & ~tensor.ATTACHED or not made.graph & ~tensor.NO_GRAPH
    return made.kind in TENSORS and made.graph != 0 and certain


def outside_tells(name: str) -> bool:
    """Whether it says something to stand for ``name``, or to inherit from it, which is nothing of the project."""
    return not name.startswith(PLAIN)


def callers_tell(function: Function, callers: Iterable[Caller]) -> bool:
    """Whether the callers of a function say more than that somebody may call it.

    Whom it is called by without a guard, and what becomes of its result, is asked where its forwards are judged.
    """
    used = any(not isinstance(thing, Constant) for things in function.returns for thing in things)
    return any(
        caller.modes & grad_mode.NO_GRAPH or (function.judged and (caller.sure or (used and is_used(caller))))
        for caller in callers
    )


def is_used(caller: Caller) -> bool:
    """Whether a caller does more with the result than to hand it on; which part of it is another question."""
    return any(" " not in use for use in caller.uses - HANDED_ON - {PASSED})
