"""Facts about what turning gradients off does to what is trained, and to what runs elsewhere: what GRD1xx reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gradlint.facts.base import Happening

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.facts.base import Modes, Operand, Reasons
    from gradlint.ir.events import Span


class ContextMisuse(Happening, frozen=True):
    """A grad-mode context that is not used as one.

    ``form``: ``discarded`` (a statement), ``unused`` (stored, never entered), ``short-circuit`` (``no_grad() and
    other()``), ``replaced`` (assigned over torch's function), ``uncalled`` (``with torch.no_grad:``), ``wraps``
    (``no_grad(model)``), ``argument`` (not a bool), ``handed`` (neither is what a caller hands in), ``no-argument``.
    """

    form: str
    context: str
    detail: str = ""
    because: Reasons = ()

    @property
    def shown(self) -> str:
        """The context as a call, or as the source has it."""
        if self.form in ("uncalled", "replaced"):
            return self.context
        return f"{self.context}({self.detail})"


class Leak(Happening, frozen=True):
    """A grad mode that this body sets and that some path carries out. ``way`` says in words which path."""

    context: str
    call: str
    way: str
    left: Span
    left_mode: str


class Suspension(Happening, frozen=True):
    """The body is suspended inside a grad-mode ``with``, by ``yield``, ``await``, ``async for`` or ``async with``."""

    kind: str
    context: str
    entered: Span


class Decoration(Happening, frozen=True):
    """A grad-mode decorator that does not do what it seems to. ``problem`` names why."""

    context: str
    problem: str
    subject: str


class InferenceUse(Happening, frozen=True):
    """Something whose product inference mode spoils for later training: ``call`` does it, ``what`` is spoilt."""

    kind: str
    call: str
    what: str
    product: Atom | None = None


class Untrained(Struct, frozen=True):
    """A forward with gradients off of a module that is meant to be trained: ``why`` says in words what tells so."""

    span: Span
    call: str
    module: str
    why: str
    since: Span | None
    because: Reasons


class UntrackedTerm(Struct, frozen=True):
    """A term of a loss that is a function of parameters, and was computed with gradients off."""

    span: Span
    term: str
    backward: str
    since: Span | None
    because: Reasons


class VainEnable(Struct, frozen=True):
    """Gradients are asked for inside inference mode, which records nothing whatever is asked.

    ``form``: ``enable`` (a context) or ``functional`` (`torch.autograd.functional`).
    """

    span: Span
    form: str
    call: str
    modes: Modes
    because: Reasons


class NotCalled(Struct, frozen=True):
    """A statement that names a method without calling it, or assigns to what only a method sets.

    ``form``: ``named``, ``replaced`` (``model.eval = True``) or ``flag`` (``model.training = False``).
    """

    span: Span
    form: str
    written: str
    instead: str
    sure: bool


class NoisyInference(Struct, frozen=True):
    """A forward with gradients off of a module in train mode, whose ``layer`` computes something else there."""

    span: Span
    call: str
    module: str
    layer: str
    because: Reasons


class StuckInEval(Struct, frozen=True):
    """A module is put in eval mode inside of the loop that trains it, and nothing there puts it back."""

    span: Span
    call: str
    module: str
    because: Reasons


class Inverted(Struct, frozen=True):
    """Gradients are turned off exactly where the condition says that they are wanted."""

    span: Span
    context: str
    condition: str
    truth: bool
    form: str


class Reentered(Struct, frozen=True):
    """A gradient-mode object that is entered while it is in force already."""

    span: Span
    context: str
    name: str
    because: Reasons


class FlatTransform(Struct, frozen=True):
    """A transform of `torch.func`, or a trace, of a function that turns gradients off."""

    span: Span
    call: str
    function: str
    because: Reasons
    ignored: bool = False
    """It differentiates in forward mode, which does not look at the gradient mode."""


class InferenceTensor(Happening, frozen=True):
    """A tensor that was computed in inference mode is used outside of it, for what it does not allow.

    ``form``: ``saved`` for the backward of ``call``, ``edited`` by it, ``flag`` (asked to require grad), ``parameter``.
    """

    target: Operand
    form: str
    call: str


class EscapedTensor(Struct, frozen=True):
    """As `InferenceTensor`, for certain; ``name`` is what the source calls it, ``since`` where the mode was entered."""

    span: Span
    name: str
    form: str
    call: str
    since: Span | None
    because: Reasons


class LazyEscape(Struct, frozen=True):
    """Code that is made with gradients off and runs where they are on; ``kind`` is what the source makes."""

    span: Span
    kind: str
    because: Reasons


class ThreadJob(Struct, frozen=True):
    """A job that is handed to a thread where gradients are off, and that runs ``forward`` in it with gradients on."""

    span: Span
    call: str
    job: str
    forward: Span
    because: Reasons


class CachedCast(Struct, frozen=True):
    """A forward for training in an autocast ``region`` in which the same module has run with gradients off before."""

    span: Span
    call: str
    region: Span
    because: Reasons


class FlatLoss(Struct, frozen=True):
    """A ``function`` or class turns gradients off by a decorator, and all that a ``loss`` returns goes through it."""

    span: Span
    function: str
    loss: str
    because: Reasons
