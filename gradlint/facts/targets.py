"""Facts about graphs that reach where no gradient is meant to go, or do not reach where one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


class FedOpponent(Struct, frozen=True):
    """What one player made is judged by its opponent with its graph, in a pass that trains the opponent only.

    ``given`` is the argument, ``judge`` the module that gets it, ``maker`` the one that made it. ``form``: ``walked``
    (the maker's own pass goes through the same graph), ``mixed`` (the gradients of the pass are still there when the
    maker's own pass adds to them), ``wasted`` (they are computed and thrown away).
    """

    span: Span
    form: str
    given: str
    judge: str
    maker: str
    because: Reasons


class AttachedTarget(Struct, frozen=True):
    """What should be a number in a loss is on the graph: ``target``, which ``maker`` computes.

    ``form``: ``bootstrapped`` (a target from the network that it is the target of), ``advantage`` (how good an action
    was, computed from the value network), ``old`` (the probability of an action before the update), ``separate`` (a
    target from another network, whose gradients nobody uses). ``forward``: the call that makes it, if
    that is for nothing else.
    """

    span: Span
    form: str
    target: str
    maker: str
    because: Reasons
    forward: Span | None = None


class UnusedGradient(Struct, frozen=True):
    """``call`` asks for a gradient that is not there: the output does not depend on ``name``.

    ``form``: ``view`` (taken after, or beside, what the output was computed from), ``leaf`` (nothing else uses it),
    ``dropped`` (the gradient is there, and nobody takes it), ``untracked`` (it does not require grad: it was ``made``
    without, and nothing asks for it).
    """

    span: Span
    form: str
    name: str
    call: str
    made: Span | None = None


class ReversedStop(Struct, frozen=True):
    """A straight-through estimate whose gradient stops on the wrong side.

    ``form``: ``negated`` (the gradient of ``name`` is minus one), ``swapped`` (the gradient goes to what was quantised
    alone, and the value is that before).
    """

    span: Span
    form: str
    name: str


class TrackedItem(Struct, frozen=True):
    """What a dataset or a collate function hands out is on the graph; ``source`` puts it there."""

    span: Span
    source: str
    because: Reasons


class HookMisuse(Struct, frozen=True):
    """A hook that does what hooks must not do.

    ``form``: ``edited`` (it changes the gradient that it is given), ``returned`` (it returns something where nothing
    may be returned), ``cut`` (it replaces an output by one without a graph), ``stored`` (it keeps outputs with their
    graphs).
    """

    span: Span
    form: str
    name: str
    because: Reasons


class ConstantLoss(Struct, frozen=True):
    """What is backwarded is, on some path, a fresh constant without a graph: ``constant``.

    ``leaf``: it is made to require grad, so that backward raises nothing.
    """

    span: Span
    constant: str
    call: str
    because: Reasons
    leaf: bool = False
