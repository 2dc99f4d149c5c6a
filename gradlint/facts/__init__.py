"""What is known about one body: all that a rule may ask.

The analysis fills a `Facts` for every body. Its lists hold what the program *does* (backward passes, forwards,
steps, edits ...) in source order, each with the operands as the analysis saw them and with the spans that
explain them. A rule reads these lists, compares, and words the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from gradlint.facts.base import Elsewhere, Happening, Modes, Operand, Reasons
from gradlint.facts.edits import (
    ArgumentEdit,
    DetachInPlace,
    Edit,
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
from gradlint.facts.leaves import AttributeWrite, GradFlag, LostFreeze
from gradlint.facts.lifetime import IdleForward, KeptGraph, OddPass, PiledGraph, RunningGraph, WalkedTwice
from gradlint.facts.modes import ContextMisuse, Decoration, InferenceUse, Leak, Suspension
from gradlint.facts.passes import Backward, Clear, Forward, ForwardMethod, ModuleMode, Step, Touch
from gradlint.facts.protocol import Uncleared, Wiped

if TYPE_CHECKING:
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
    is_consumed_idly: bool = False
    """A generator: whoever runs it in sight, and somebody does, computes nothing while it is suspended."""
    expected: tuple[Span, ...] = ()
    """The stretches of the file where an exception is asked for: nothing in them is a mistake."""

    @property
    def name(self) -> str:
        """The name of the function, or what stands for one."""
        return self.body.name or self.body.kind
