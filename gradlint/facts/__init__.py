"""What is known about one body: all that a rule may ask.

The analysis fills a `Facts` for every body. Its lists hold what the program *does* (backward passes, forwards,
steps, edits ...) in source order, each with the operands as the analysis saw them and with the spans that
explain them. A rule reads these lists, compares, and words the finding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.facts.base import Elsewhere, Happening, Modes, Operand, Reasons

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span


__all__ = [
    "AttributeWrite",
    "Backward",
    "Clear",
    "ContextMisuse",
    "Decoration",
    "Edit",
    "Elsewhere",
    "Facts",
    "Forward",
    "ForwardMethod",
    "GradFlag",
    "Happening",
    "IdleForward",
    "InferenceUse",
    "KeptGraph",
    "Leak",
    "LostFreeze",
    "Modes",
    "ModuleMode",
    "Operand",
    "Reasons",
    "Step",
    "Suspension",
    "Touch",
    "Uncleared",
    "Wiped",
]


@dataclass(frozen=True, slots=True)
class Backward(Happening):
    """A backward pass from ``target``; ``how`` is ``backward``, ``grad`` or the framework's call as written.

    ``call`` is the source of the call, ``inputs`` tells that it fills only some gradients. ``through`` is the
    function of this file that runs it, if it is not here, and ``origin`` the place there.
    """

    target: Operand
    how: str
    call: str = ""
    inputs: bool = False
    through: str = ""
    origin: Span | None = None

    def joined(self, other: Backward) -> Backward:
        """The same call reached on two paths: its target stands wherever it stands on one of them."""
        here, there = self.target, other.target
        target = replace(here, graph=here.graph | there.graph, atoms=here.atoms | there.atoms)
        return replace(self, target=target, modes=Modes(self.modes.bits | other.modes.bits, self.modes.since))


@dataclass(frozen=True, slots=True)
class Forward(Happening):
    """A module is called. ``marks`` are what is known of its mode (see `gradlint.domains.state`)."""

    module: Operand
    result: Operand
    marks: int
    through: str = ""


@dataclass(frozen=True, slots=True)
class ForwardMethod(Forward):
    """A method of a module is called that is not in sight, and that its name says to run the module's layers."""


@dataclass(frozen=True, slots=True)
class Step(Happening):
    """An optimizer's step. ``closure`` tells that it is given a function that runs forward and backward.

    ``variable`` is what holds the optimizer in this body, which for a step in a callee differs from its name.
    """

    optimizer: Operand
    call: str = ""
    closure: bool = False
    variable: str = ""
    through: str = ""
    origin: Span | None = None


@dataclass(frozen=True, slots=True)
class Clear(Happening):
    """``zero_grad``: ``subject`` is the optimizer or module. ``surely``: if the call is made, so is this."""

    subject: Operand
    call: str = ""
    surely: bool = True
    through: str = ""
    origin: Span | None = None


@dataclass(frozen=True, slots=True)
class Touch(Happening):
    """Gradients are read, set by hand, or reach code out of sight; ``clears`` tells that it may clear them."""

    subject: Operand
    clears: bool
    through: str = ""
    origin: Span | None = None


@dataclass(frozen=True, slots=True)
class Uncleared:
    """A backward pass that adds to gradients which a step has applied, or which another pass has left."""

    span: Span
    call: str
    step: str
    optimizer: str
    source: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class Wiped:
    """A call that clears gradients at the wrong place.

    ``form``: ``between`` backward and step, at every ``micro-batch`` of an accumulation, outside of the ``closure``
    that the optimizer runs many times.
    """

    span: Span
    form: str
    call: str
    step: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class ContextMisuse(Happening):
    """A grad-mode context that is not used as one.

    ``form``: ``discarded`` (a statement), ``unused`` (stored, never entered), ``short-circuit`` (``no_grad() and
    other()``), ``replaced`` (assigned over torch's function), ``uncalled`` (``with torch.no_grad:``), ``wraps``
    (``no_grad(model)``), ``argument`` (not a bool), ``no-argument``.
    """

    form: str
    context: str
    detail: str = ""

    @property
    def shown(self) -> str:
        """The context as a call, or as the source has it."""
        if self.form in ("uncalled", "replaced"):
            return self.context
        return f"{self.context}({self.detail})"


@dataclass(frozen=True, slots=True)
class Leak(Happening):
    """A grad mode that this body sets and that some path carries out. ``way`` says in words which path."""

    context: str
    call: str
    way: str
    left: Span
    left_mode: str


@dataclass(frozen=True, slots=True)
class Suspension(Happening):
    """The body is suspended inside a grad-mode ``with``, by ``yield``, ``await``, ``async for`` or ``async with``."""

    kind: str
    context: str
    entered: Span


@dataclass(frozen=True, slots=True)
class Decoration(Happening):
    """A grad-mode decorator that does not do what it seems to. ``problem`` names why."""

    context: str
    problem: str
    subject: str


@dataclass(frozen=True, slots=True)
class InferenceUse(Happening):
    """Something whose product inference mode spoils for later training: ``call`` does it, ``what`` is spoilt."""

    kind: str
    call: str
    what: str
    product: Atom | None = None


@dataclass(frozen=True, slots=True)
class GradFlag(Happening):
    """``requires_grad`` is set: ``form`` is ``attribute``, ``method``, ``argument`` (of a call that makes a copy)."""

    target: Operand
    value: bool | None
    form: str


@dataclass(frozen=True, slots=True)
class AttributeWrite(Happening):
    """``target.name = value``; ``compared``: ``target.name == value``; ``called``: ``target.name(value)``."""

    target: Operand
    name: str
    value: Operand
    compared: bool = False
    called: bool = False


@dataclass(frozen=True, slots=True)
class Edit(Happening):
    """An in-place edit.

    ``writes_leaf``: the memory belongs to a leaf that requires grad, on every path. ``saved`` are the recorded
    operations that still need that memory for their backward. ``backwarded``: a backward in this body follows.
    ``called`` is the call that hands the tensor to the function of this file in which the edit stands, if any.
    ``alias``: the memory belongs to another tensor as well, of which the target is a view. ``inside``: where in a
    function that is given the target here the edit itself stands.
    """

    target: Operand
    op: str
    writes_leaf: bool
    saved: tuple[tensor.Saved, ...] = ()
    backwarded: bool = False
    called: Span | None = None
    alias: bool = False
    inside: Span | Elsewhere | None = None

    def handed_over(self) -> Reasons:
        """Where the target is given to the function that edits it, and where that does; nothing for an edit here."""
        return () if self.inside is None else ((self.span, "handed over here"), (self.inside, "edited here"))

    def because(self) -> Reasons:
        """Where the edit is made."""
        return self.handed_over() or ((self.span, "edited here"),)


@dataclass(frozen=True, slots=True)
class ModuleMode(Happening):
    """A module is put into train or eval mode; ``how`` is the method that did it."""

    module: Operand
    marks: int
    how: str


@dataclass(frozen=True, slots=True)
class IdleForward(Happening):
    """A forward records a graph that nobody walks back; ``reason`` says in words what tells so.

    ``whole``: it tells of all that the function does, of which this is the first forward.
    """

    call: str
    reason: str
    because: Reasons
    whole: bool = False


@dataclass(frozen=True, slots=True)
class KeptGraph(Happening):
    """``store`` keeps, in every iteration, another graph that nobody walks back: that of ``target``."""

    store: str
    target: str
    because: Reasons


@dataclass(frozen=True, slots=True)
class LostFreeze:
    """A statement that was meant to freeze, or to thaw, and does nothing. ``form`` tells which mistake it is.

    ``is_tensor``: what it was meant for is a tensor for certain, rather than a module. ``computed``: it may be the
    result of a recorded operation, whose flag torch refuses to change.
    """

    span: Span
    form: str
    target: str
    written: str
    because: Reasons = ()
    flag: object = ...
    is_tensor: bool = False
    computed: bool = False


@dataclass(slots=True)
class Facts:
    """All that is known of one body."""

    body: Body
    path: str
    entry: int
    guarded: bool = False
    """Every known caller runs it with gradients off."""
    unguarded: Reasons = ()
    """Who calls it without turning gradients off, where others do turn them off."""
    role: str = ""
    """``evaluation``, ``training`` or empty: what the body is for, as far as its name and its loops tell."""
    backwards: list[Backward] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    clears: list[Clear] = field(default_factory=list)
    uncleared: list[Uncleared] = field(default_factory=list)
    wiped: list[Wiped] = field(default_factory=list)
    misuses: list[ContextMisuse] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    suspensions: list[Suspension] = field(default_factory=list)
    decorations: list[Decoration] = field(default_factory=list)
    inference_uses: list[InferenceUse] = field(default_factory=list)
    flags: list[GradFlag] = field(default_factory=list)
    writes: list[AttributeWrite] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    idle_forwards: list[IdleForward] = field(default_factory=list)
    """Forwards for evaluation, inference or targets that record a graph for nobody."""
    kept_graphs: list[KeptGraph] = field(default_factory=list)
    """Stores that keep such graphs alive across iterations."""
    lost_freezes: list[LostFreeze] = field(default_factory=list)
    """Freezes that freeze nothing: an attribute of a module, a flag on a detached alias, one undone at once."""
    misspelt: list[LostFreeze] = field(default_factory=list)
    """Statements that were meant to set ``requires_grad`` and set something else, or nothing."""

    is_context_manager: bool = False
    """A decorator makes its `yield` the inside of a ``with`` or of a test."""

    @property
    def name(self) -> str:
        """The name of the function, or what stands for one."""
        return self.body.name or self.body.kind
