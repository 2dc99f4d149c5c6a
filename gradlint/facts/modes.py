"""Facts about what turning gradients off does to what is trained, and to what runs elsewhere: what GRD1xx reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.facts.base import Modes, Reasons
    from gradlint.ir.events import Span


@dataclass(frozen=True, slots=True)
class Untrained:
    """A forward with gradients off of a module that is meant to be trained: ``why`` says in words what tells so."""

    span: Span
    call: str
    module: str
    why: str
    since: Span | None
    because: Reasons


@dataclass(frozen=True, slots=True)
class UntrackedTerm:
    """A term of a loss that is a function of parameters, and was computed with gradients off."""

    span: Span
    term: str
    backward: str
    since: Span | None
    because: Reasons


@dataclass(frozen=True, slots=True)
class VainEnable:
    """Gradients are asked for inside inference mode, which records nothing whatever is asked.

    ``form``: ``enable`` (a context) or ``functional`` (`torch.autograd.functional`).
    """

    span: Span
    form: str
    call: str
    modes: Modes
    because: Reasons


@dataclass(frozen=True, slots=True)
class NotCalled:
    """A statement that names a method without calling it, or assigns to what only a method sets.

    ``form``: ``named``, ``replaced`` (``model.eval = True``) or ``flag`` (``model.training = False``).
    """

    span: Span
    form: str
    written: str
    instead: str
    sure: bool


@dataclass(frozen=True, slots=True)
class NoisyInference:
    """A forward with gradients off of a module in train mode, whose ``layer`` computes something else there."""

    span: Span
    call: str
    module: str
    layer: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class StuckInEval:
    """A module is put in eval mode inside of the loop that trains it, and nothing there puts it back."""

    span: Span
    call: str
    module: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class Inverted:
    """Gradients are turned off exactly where the condition says that they are wanted."""

    span: Span
    context: str
    condition: str
    truth: bool
    form: str


@dataclass(frozen=True, slots=True)
class Reentered:
    """A gradient-mode object that is entered while it is in force already."""

    span: Span
    context: str
    name: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class FlatTransform:
    """A transform of `torch.func` that differentiates a function which turns gradients off."""

    span: Span
    call: str
    function: str
    because: Reasons
