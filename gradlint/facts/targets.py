"""Facts about graphs that reach where no gradient is meant to go, or do not reach where one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


@dataclass(frozen=True, slots=True)
class FedOpponent:
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


@dataclass(frozen=True, slots=True)
class AttachedTarget:
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


@dataclass(frozen=True, slots=True)
class UnusedGradient:
    """``call`` asks for a gradient that is not there: the output does not depend on ``name``.

    ``form``: ``view`` (taken after, or beside, what the output was computed from), ``leaf`` (nothing else uses it),
    ``dropped`` (the gradient is there, and nobody takes it).
    """

    span: Span
    form: str
    name: str
    call: str


@dataclass(frozen=True, slots=True)
class ReversedStop:
    """A straight-through estimate whose gradient stops on the wrong side.

    ``form``: ``negated`` (the gradient of ``name`` is minus one), ``swapped`` (the gradient goes to what was quantised
    alone, and the value is that before).
    """

    span: Span
    form: str
    name: str


@dataclass(frozen=True, slots=True)
class TrackedItem:
    """What a dataset or a collate function hands out is on the graph; ``source`` puts it there."""

    span: Span
    source: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class HookMisuse:
    """A hook that does what hooks must not do.

    ``form``: ``edited`` (it changes the gradient that it is given), ``returned`` (it returns something where nothing
    may be returned), ``cut`` (it replaces an output by one without a graph), ``stored`` (it keeps outputs with their
    graphs).
    """

    span: Span
    form: str
    name: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class ConstantLoss:
    """What is backwarded is, on some path, a fresh constant without a graph: ``constant``.

    ``leaf``: it is made to require grad, so that backward raises nothing.
    """

    span: Span
    constant: str
    call: str
    because: Reasons
    leaf: bool = False
