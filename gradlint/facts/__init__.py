"""What is known about one body: all that a rule may ask.

The analysis fills a `Facts` for every body. Its lists hold what the program *does* (backward passes, forwards,
steps, edits ...) in source order, each with the operands as the analysis saw them and with the spans that
explain them. A rule reads these lists, compares, and words the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gradlint.domains import tensor
from gradlint.facts.base import Elsewhere, Happening, Modes, Operand, Reasons
from gradlint.facts.edits import (
    ArgumentEdit,
    DetachInPlace,
    HiddenEdit,
    LateBackward,
    MixedModes,
    OutWrite,
    Recurrence,
    SharedEdit,
    UnseenEdit,
    ViewEdit,
)
from gradlint.facts.functions import (
    CheckpointCall,
    CustomFunction,
    DirectForward,
    EditedCheckpoint,
    FunctionCall,
    HandmadeCheckpoint,
    InnerBackward,
)
from gradlint.facts.lifetime import OddPass, PiledGraph, RunningGraph, WalkedTwice

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.facts.freezing import ConstantParameter, LiveStatistics, NothingLeft, StaleGradient
    from gradlint.facts.leaves import (
        AliasedState,
        ArrayUse,
        Exhausted,
        Hidden,
        IntegerLeaf,
        LostGraph,
        LostParameter,
        MissingGradient,
        NeedlessFlag,
        NoLeaf,
        Rebound,
        RefusedFlag,
        Unowned,
        Unrestored,
        Untied,
    )
    from gradlint.facts.modes import (
        CachedCast,
        EscapedTensor,
        FlatLoss,
        FlatTransform,
        Inverted,
        LazyEscape,
        NoisyInference,
        NotCalled,
        Reentered,
        StuckInEval,
        ThreadJob,
        UntrackedTerm,
        Untrained,
        VainEnable,
    )
    from gradlint.facts.numbers import NanGradient
    from gradlint.facts.protocol import (
        ClosureMisuse,
        EarlyStep,
        IdleStep,
        KeptTensors,
        MisplacedClip,
        ScalerMisuse,
        ShortLived,
        Summed,
    )
    from gradlint.facts.targets import (
        AttachedTarget,
        ConstantLoss,
        FedOpponent,
        HookMisuse,
        ReversedStop,
        TrackedItem,
        UnusedGradient,
    )
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span


__all__ = [
    "AttributeWrite",
    "Backward",
    "Clear",
    "ContextMisuse",
    "CustomFunction",
    "Decoration",
    "Edit",
    "Elsewhere",
    "Facts",
    "Forward",
    "ForwardMethod",
    "FunctionCall",
    "GradFlag",
    "Happening",
    "IdleForward",
    "InferenceUse",
    "InnerBackward",
    "KeptGraph",
    "Leak",
    "LostFreeze",
    "Modes",
    "ModuleMode",
    "OddPass",
    "Operand",
    "PiledGraph",
    "Reasons",
    "RunningGraph",
    "SharedEdit",
    "Step",
    "Suspension",
    "Touch",
    "Uncleared",
    "WalkedTwice",
    "Wiped",
]


class Backward(Happening, frozen=True):
    """A backward pass from ``target``; ``how`` is ``backward``, ``grad`` or the framework's call as written.

    ``call`` is the source of the call, ``inputs`` tells that it fills only some gradients. ``through`` is the
    function of this file that runs it, if it is not here, and ``origin`` the place there. ``deliberate``: it is handed
    the gradient of what it starts from, or allows that nothing leads to what is asked for.
    """

    target: Operand
    how: str
    call: str = ""
    inputs: bool = False
    through: str = ""
    origin: Span | None = None
    deliberate: bool = False

    def joined(self, other: Backward) -> Backward:
        """The same call reached on two paths: its target stands wherever it stands on one of them."""
        here, there = self.target, other.target
        target = replace(here, graph=here.graph | there.graph, atoms=here.atoms | there.atoms)
        return replace(self, target=target, modes=Modes(self.modes.bits | other.modes.bits, self.modes.since))


class Forward(Happening, frozen=True):
    """A module is called. ``marks`` are what is known of its mode (see `gradlint.domains.state`)."""

    module: Operand
    result: Operand
    marks: int
    through: str = ""


class ForwardMethod(Forward, frozen=True):
    """A method of a module is called that is not in sight, and that its name says to run the module's layers."""


class Step(Happening, frozen=True):
    """An optimizer's step. ``closure`` tells that it is given a function that runs forward and backward.

    ``variable`` is what holds the optimizer in this body, which for a step in a callee differs from its name.
    """

    optimizer: Operand
    call: str = ""
    closure: bool = False
    variable: str = ""
    through: str = ""
    origin: Span | None = None


class Clear(Happening, frozen=True):
    """``zero_grad``: ``subject`` is the optimizer or module. ``surely``: if the call is made, so is this."""

    subject: Operand
    call: str = ""
    surely: bool = True
    through: str = ""
    origin: Span | None = None


class Touch(Happening, frozen=True):
    """Gradients are read, set by hand, or reach code out of sight; ``clears`` tells that it may clear them."""

    subject: Operand
    clears: bool
    through: str = ""
    origin: Span | None = None


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


class GradFlag(Happening, frozen=True):
    """``requires_grad`` is set: ``form`` is ``attribute``, ``method``, ``argument`` (of a call that makes a copy)."""

    target: Operand
    value: bool | None
    form: str


class AttributeWrite(Happening, frozen=True):
    """``target.name = value``; ``compared``: ``target.name == value``; ``called``: ``target.name(value)``."""

    target: Operand
    name: str
    value: Operand
    compared: bool = False
    called: bool = False


class Edit(Happening, frozen=True):
    """An in-place edit.

    ``writes_leaf``: the memory belongs to a leaf that requires grad, on every path. ``saved`` are the recorded
    operations that still need that memory for their backward. ``backwarded``: a backward in this body follows.
    ``called`` is the call that hands the tensor to the function of this file in which the edit stands, if any.
    ``alias``: the memory belongs to another tensor as well, of which the target is a view. ``inside``: where in a
    function that is given the target here the edit itself stands. ``some`` keep one of the things that the target may
    be, where it is not known to be that one.
    """

    target: Operand
    op: str
    writes_leaf: bool
    saved: tuple[tensor.Saved, ...] = ()
    backwarded: bool = False
    called: Span | None = None
    alias: bool = False
    inside: Span | Elsewhere | None = None
    some: tuple[tensor.Saved, ...] = ()

    def handed_over(self) -> Reasons:
        """Where the target is given to the function that edits it, and where that does; nothing for an edit here."""
        return () if self.inside is None else ((self.span, "handed over here"), (self.inside, "edited here"))

    def because(self) -> Reasons:
        """Where the edit is made."""
        return self.handed_over() or ((self.span, "edited here"),)


class ModuleMode(Happening, frozen=True):
    """A module is put into train or eval mode; ``how`` is the method that did it."""

    module: Operand
    marks: int
    how: str


class IdleForward(Happening, frozen=True):
    """A forward records a graph that nobody walks back; ``reason`` says in words what tells so.

    ``whole``: it tells of all that the function does, of which this is the first forward.
    """

    call: str
    reason: str
    because: Reasons
    whole: bool = False


class KeptGraph(Happening, frozen=True):
    """``store`` keeps, in every iteration, another graph that nobody walks back: that of ``target``.

    ``collected``: a framework keeps it, in a method that has turned gradients on. ``hook``: a forward hook
    does, until the next pass. ``constructor``: an object does, from its constructor on.
    """

    store: str
    target: str
    because: Reasons
    collected: bool = False
    hook: bool = False
    constructor: bool = False


class LostFreeze(Struct, frozen=True):
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


class Facts(Struct):
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
    misplaced_clips: list[MisplacedClip] = field(default_factory=list)
    untrained: list[Untrained] = field(default_factory=list)
    untracked_terms: list[UntrackedTerm] = field(default_factory=list)
    vain_enables: list[VainEnable] = field(default_factory=list)
    not_called: list[NotCalled] = field(default_factory=list)
    noisy: list[NoisyInference] = field(default_factory=list)
    """Forwards with gradients off of modules in train mode."""
    stuck_in_eval: list[StuckInEval] = field(default_factory=list)
    inverted: list[Inverted] = field(default_factory=list)
    reentered: list[Reentered] = field(default_factory=list)
    flat_transforms: list[FlatTransform] = field(default_factory=list)
    early_steps: list[EarlyStep] = field(default_factory=list)
    closure_misuses: list[ClosureMisuse] = field(default_factory=list)
    idle_steps: list[IdleStep] = field(default_factory=list)
    """Steps that no backward pass feeds, and passes that no step applies."""
    short_lived: list[ShortLived] = field(default_factory=list)
    kept_tensors: list[KeptTensors] = field(default_factory=list)
    scaler_misuses: list[ScalerMisuse] = field(default_factory=list)
    summed: list[Summed] = field(default_factory=list)
    """Backward passes of an accumulation whose losses nothing divides."""
    misuses: list[ContextMisuse] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    suspensions: list[Suspension] = field(default_factory=list)
    decorations: list[Decoration] = field(default_factory=list)
    inference_uses: list[InferenceUse] = field(default_factory=list)
    flat_traces: list[FlatTransform] = field(default_factory=list)
    """Traces of what turns gradients off."""
    flat_losses: list[FlatLoss] = field(default_factory=list)
    cached_casts: list[CachedCast] = field(default_factory=list)
    thread_jobs: list[ThreadJob] = field(default_factory=list)
    lazy_escapes: list[LazyEscape] = field(default_factory=list)
    escaped_tensors: list[EscapedTensor] = field(default_factory=list)
    """Uses of tensors of inference mode outside of it."""
    flags: list[GradFlag] = field(default_factory=list)
    writes: list[AttributeWrite] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    shared_edits: list[SharedEdit] = field(default_factory=list)
    """Edits in place that another name sees, which is read afterwards."""
    argument_edits: list[ArgumentEdit] = field(default_factory=list)
    """Edits in place of the tensors that callers have handed in."""
    unseen_edits: list[UnseenEdit] = field(default_factory=list)
    """Edits that torch does not count, of what is saved for backward."""
    out_writes: list[OutWrite] = field(default_factory=list)
    """Calls of torch with ``out=``."""
    view_edits: list[ViewEdit] = field(default_factory=list)
    """Edits in place of views that must not be edited."""
    recurrences: list[Recurrence] = field(default_factory=list)
    """Buffers that a loop reads and writes, where a call may save what it reads."""
    mixed_modes: list[MixedModes] = field(default_factory=list)
    """Forwards in train mode while the graph of one in eval mode is kept."""
    detaches: list[DetachInPlace] = field(default_factory=list)
    """Calls of ``detach_`` that torch refuses, there or in a backward."""
    hidden_edits: list[HiddenEdit] = field(default_factory=list)
    """Edits with gradients off of what a backward goes through afterwards."""
    late_backwards: list[LateBackward] = field(default_factory=list)
    """Backward passes through forwards whose parameters a step has changed since."""
    idle_forwards: list[IdleForward] = field(default_factory=list)
    """Forwards for evaluation, inference or targets that record a graph for nobody."""
    kept_graphs: list[KeptGraph] = field(default_factory=list)
    """Stores that keep such graphs alive across iterations."""
    piled_graphs: list[PiledGraph] = field(default_factory=list)
    """Stores that keep what backward left of graphs, across iterations."""
    running_graphs: list[RunningGraph] = field(default_factory=list)
    """Updates of running state that put it on the graph."""
    walked_twice: list[WalkedTwice] = field(default_factory=list)
    """Backward passes over a graph that an earlier pass has freed."""
    odd_passes: list[OddPass] = field(default_factory=list)
    """Calls about a backward pass that do not do what they are meant to."""
    fed_opponents: list[FedOpponent] = field(default_factory=list)
    """What one of two opponents is given undetached, in a pass that trains it only."""
    attached_targets: list[AttachedTarget] = field(default_factory=list)
    """Targets and advantages that should be numbers, and are on the graph."""
    unused_gradients: list[UnusedGradient] = field(default_factory=list)
    """Gradients asked of what the output does not depend on."""
    reversed_stops: list[ReversedStop] = field(default_factory=list)
    """Straight-through estimates the wrong way round."""
    tracked_items: list[TrackedItem] = field(default_factory=list)
    """What datasets hand out with its graph."""
    hook_misuses: list[HookMisuse] = field(default_factory=list)
    """Hooks, registered here, that do what hooks must not do."""
    constant_losses: list[ConstantLoss] = field(default_factory=list)
    """Losses that are a constant on some path to their backward."""
    lost_freezes: list[LostFreeze] = field(default_factory=list)
    """Freezes that freeze nothing: an attribute of a module, a flag on a detached alias, one undone at once."""
    misspelt: list[LostFreeze] = field(default_factory=list)
    """Statements that were meant to set ``requires_grad`` and set something else, or nothing."""
    arrays: list[ArrayUse] = field(default_factory=list)
    """Tensors on the graph that numpy is given."""
    integer_leaves: list[IntegerLeaf] = field(default_factory=list)
    """Gradients asked of tensors of integers."""
    refused_flags: list[RefusedFlag] = field(default_factory=list)
    """Flags set on computed tensors."""
    lost_leaves: list[NoLeaf] = field(default_factory=list)
    """Computed tensors that are used as leaves."""
    lost_parameters: list[LostParameter] = field(default_factory=list)
    """Attributes of modules that should be parameters, and are computed from one."""
    lost_graphs: list[LostGraph] = field(default_factory=list)
    """Operations that take a value off the graph on its way to a backward pass."""
    copied_data: list[LostGraph] = field(default_factory=list)
    """Reads of ``.data`` whose copy takes the place of what was on the graph, wherever the backward pass is."""
    hidden_parameters: list[Hidden] = field(default_factory=list)
    """What a module uses for training and does not register."""
    nothing_left: list[NothingLeft] = field(default_factory=list)
    """Optimizers and backward passes with nothing but frozen parameters."""
    stale_gradients: list[StaleGradient] = field(default_factory=list)
    """Freezes of what holds a gradient that a step still applies."""
    live_statistics: list[LiveStatistics] = field(default_factory=list)
    """Freezes of batch norms whose statistics go on moving."""
    constant_parameters: list[ConstantParameter] = field(default_factory=list)
    """Trainable parameters that look like constants."""
    nan_gradients: list[NanGradient] = field(default_factory=list)
    """Elements without a finite derivative that are taken out too late."""
    exhausted: list[Exhausted] = field(default_factory=list)
    """Second uses of one iterator over parameters."""
    rebound: list[Rebound] = field(default_factory=list)
    """Leaves that their own update replaces."""
    missing_gradients: list[MissingGradient] = field(default_factory=list)
    """Uses of gradients that are not there, and gradients set to a number."""
    needless_flags: list[NeedlessFlag] = field(default_factory=list)
    """Inputs and labels that require grad for nobody."""
    unowned: list[Unowned] = field(default_factory=list)
    """Parameters that an optimizer in sight misses."""
    index_flags: list[NeedlessFlag] = field(default_factory=list)
    """Flags that are cleared on indices, which never require grad."""
    untied: list[Untied] = field(default_factory=list)
    """Parameters that were meant to be one."""
    aliased_states: list[AliasedState] = field(default_factory=list)
    """Weights kept by reference while training goes on."""
    unrestored: list[Unrestored] = field(default_factory=list)
    """Ways out on which a module stays frozen."""

    custom_functions: list[CustomFunction] = field(default_factory=list)
    """Of a module: the classes derived from `torch.autograd.Function`."""
    function_calls: list[FunctionCall] = field(default_factory=list)
    """Custom functions that are used other than by ``apply``."""
    direct_forwards: list[DirectForward] = field(default_factory=list)
    """Calls of ``forward`` past the module."""
    checkpoints: list[CheckpointCall] = field(default_factory=list)
    """Reentrant checkpoints that fail, or that cut the graph."""
    edited_checkpoints: list[EditedCheckpoint] = field(default_factory=list)
    """Changes of parameters between a checkpoint and its backward."""
    handmade: list[HandmadeCheckpoint] = field(default_factory=list)
    """What is called a checkpoint and turns gradients off."""
    inner_backwards: list[InnerBackward] = field(default_factory=list)
    """Backward passes inside of a custom function's methods, with gradients off."""
    is_context_manager: bool = False
    """A decorator makes its `yield` the inside of a ``with`` or of a test."""
    expected: tuple[Span, ...] = ()
    """The stretches of the file where an exception is asked for: nothing in them is a mistake."""

    @property
    def name(self) -> str:
        """The name of the function, or what stands for one."""
        return self.body.name or self.body.kind
