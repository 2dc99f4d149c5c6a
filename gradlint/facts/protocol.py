"""Facts about what happens around an optimizer's step: what the rules GRD5xx read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gradlint.facts.base import Happening

if TYPE_CHECKING:
    from gradlint.facts.base import Asked, Operand, Reasons
    from gradlint.ir.events import Span


class Uncleared(Struct, frozen=True):
    """A backward pass that adds to gradients which a step has applied, or which another pass has left.

    ``leaf``: the variable that is updated by hand, if that is the step; ``optimizer`` is what it is a parameter of.
    """

    span: Span
    call: str
    step: str
    optimizer: str
    source: str
    because: Reasons
    leaf: str = ""


class Wiped(Struct, frozen=True):
    """A call that clears gradients at the wrong place.

    ``form``: ``between`` backward and step, at every ``micro-batch`` of an accumulation, outside of the ``closure``
    that the optimizer runs many times.
    """

    span: Span
    form: str
    call: str
    step: str
    because: Reasons


class Clip(Happening, frozen=True):
    """Gradients are clipped. ``subject`` is what has them: parameters, or a module; anything if that is not known.

    ``measures``: the limit is infinite, so that the call only tells the norm. ``unscales``: it divides by the loss
    scale itself, as those of frameworks do. ``refused``: what it is given in place of parameters, which it cannot take.
    """

    subject: Operand
    call: str
    measures: bool = False
    unscales: bool = False
    refused: str = ""
    through: str = ""
    origin: Span | None = None
    asked: tuple[Asked, ...] = ()


class Scaling(Happening, frozen=True):
    """A gradient scaler is used: ``kind`` is the method, ``subject`` its argument; ``wanted``: the result is used."""

    kind: str
    scaler: Operand
    subject: Operand
    call: str
    through: str = ""
    origin: Span | None = None
    asked: tuple[Asked, ...] = ()


class MisplacedClip(Struct, frozen=True):
    """Gradients are clipped where that does not bound the step.

    ``form``: ``before`` the backward, ``after`` the step, at every ``micro-batch`` of an accumulation, of an ``other``
    model than the one that is stepped, or of something that is ``refused``.
    """

    span: Span
    form: str
    call: str
    step: str
    detail: str
    because: Reasons


class ScalerMisuse(Struct, frozen=True):
    """A gradient scaler whose scale gets into the step, or never into the loss.

    ``form``: a ``clip`` of scaled gradients, a ``plain`` step with them, a scaled loss that is ``dropped``, an
    ``update`` that is missing.
    """

    span: Span
    form: str
    call: str
    scaler: str
    step: str
    because: Reasons


class Summed(Struct, frozen=True):
    """A backward pass of an accumulation whose loss nothing divides: gradients are a sum where a mean is meant."""

    span: Span
    call: str
    loss: str
    number: str
    because: Reasons


class EarlyStep(Struct, frozen=True):
    """A step that runs before the backward pass of its iteration, on gradients that were cleared."""

    span: Span
    call: str
    backward: str
    because: Reasons


class ClosureMisuse(Struct, frozen=True):
    """An optimizer's closure that is missing, computes no gradients, or runs with gradients off.

    ``form``: ``missing``, ``idle`` or ``off``.
    """

    span: Span
    form: str
    call: str
    because: Reasons


class ShortLived(Struct, frozen=True):
    """An optimizer that is made anew in every iteration that makes a step with it."""

    span: Span
    optimizer: str
    step: str
    because: Reasons


class KeptTensors(Struct, frozen=True):
    """A call that zeroes gradients in place of dropping them."""

    span: Span
    call: str
    argument: Span


class IdleStep(Struct, frozen=True):
    """A step without the backward pass that it should apply, or the other way round.

    ``form``: the gradients are ``empty``, for they were cleared and nothing filled them; they were computed by
    ``grad``, which fills none; or a backward pass is ``unstepped``. ``call`` is what stands at ``span``, ``step`` the
    optimizer, or its step.
    """

    span: Span
    form: str
    call: str
    step: str
    because: Reasons
