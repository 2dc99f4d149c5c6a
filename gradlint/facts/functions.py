"""Facts about custom autograd functions and checkpoints: what the rules GRD6xx read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gradlint.ir.events import Span


class KeptTensor(Struct, frozen=True):
    """``ctx.attribute`` holds a tensor. ``role``: ``input`` or ``output`` of the function; ``name`` is the tensor's.

    ``owner``: what is kept is an object, of which an attribute is the output. ``reads`` are where backward reads it;
    ``alone``: it is the only thing that is assigned there, and nothing is given to ``save_for_backward``. ``measured``:
    backward reads nothing of it but its shape, its type or where it lies.
    """

    span: Span
    attribute: str
    name: str
    role: str
    owner: bool = False
    reads: tuple[Span, ...] = ()
    alone: bool = False
    measured: bool = False


class BrokenState(Struct, frozen=True):
    """What backward reads of ``ctx`` and does not find.

    ``form``: ``unset`` (nothing sets the attribute), ``unsaved`` (nothing was given to ``save_for_backward``),
    ``cleared`` (backward itself takes it away, at ``at``, and cannot run again). ``retained``: a graph of this file is
    kept for another backward.
    """

    span: Span
    form: str
    attribute: str
    at: Span
    retained: bool = False


class WrongGradients(Struct, frozen=True):
    """What backward returns does not fit what forward takes.

    ``form``: ``few``, ``many``, ``missing`` (it returns nothing), ``index`` (of ``needs_input_grad``, beyond the
    inputs), ``unpacked`` (into another number of flags), ``shifted`` (the index is that of another input), ``context``
    (``forward`` has no ``ctx``, and nothing sets one up), ``double`` (it has one, and ``setup_context`` too). ``found``
    and ``wanted`` are counts or positions.
    """

    span: Span
    form: str
    found: int
    wanted: int
    at: Span
    name: str = ""


class SpoiltTensor(Struct, frozen=True):
    """An in-place edit inside of a custom function, at ``span``.

    ``form``: ``dirty`` (``forward`` edits its input and does not say so), ``gradient`` (``backward`` edits the gradient
    that it is given), ``saved`` (it edits what was saved). ``at`` is the name of the context, ``returned`` tells that
    ``forward`` returns what it edits.
    """

    span: Span
    form: str
    op: str
    name: str
    at: Span
    returned: bool = False


class WrongSave(Struct, frozen=True):
    """What a custom function does not get, or not keep.

    ``form``: ``twice`` (this call of ``save_for_backward`` forgets the one at ``at``), ``plain`` (its argument ``name``
    is no tensor), ``captured`` (the leaf ``name`` is used and is no input), ``unmaterialised`` (``backward`` computes
    with the gradient ``name``, which may be None since the call at ``at``).
    """

    span: Span
    form: str
    name: str
    at: Span


class SecondDerivative(Struct, frozen=True):
    """What second derivatives through a custom function lose, at ``span``.

    ``form``: ``intermediate`` (``forward`` keeps ``name``, which it has computed and does not return; ``at`` is where
    backward reads it), ``cut`` (``backward`` takes something off the graph by ``name``; ``at`` is where it returns what
    comes of it), ``off`` (``name`` turns gradients off for all of ``backward``), ``once`` (``backward`` is marked as
    differentiable once, which torch only sees to where the incoming gradient requires grad). ``asked`` is where code of
    the file asks for a gradient through the function that can be differentiated again.
    """

    span: Span
    form: str
    name: str
    at: Span
    asked: Span | None = None

    def asking(self) -> tuple[tuple[Span, str], ...]:
        """Where a gradient that can be differentiated is asked for, as evidence."""
        return () if self.asked is None else ((self.asked, "asks for a gradient to differentiate again"),)


class CustomFunction(Struct, frozen=True):
    """A class derived from `torch.autograd.Function`."""

    name: str
    span: Span
    kept: tuple[KeptTensor, ...] = ()
    broken: tuple[BrokenState, ...] = ()
    gradients: tuple[WrongGradients, ...] = ()
    spoilt: tuple[SpoiltTensor, ...] = ()
    saves: tuple[WrongSave, ...] = ()
    seconds: tuple[SecondDerivative, ...] = ()


class FunctionCall(Struct, frozen=True):
    """A custom function is used other than by ``apply``.

    ``form``: ``called`` (``Fn()(x)``), ``made`` (an instance is made for others to call), ``forward``
    (``Fn.forward(None, x)``), ``container`` (``Fn.apply([x])``: a tensor is inside of a container, an ``argument``),
    ``module`` (``Fn.apply(x, layer)``: ``forward`` calls the module ``argument``, whose parameters are no inputs).
    ``made`` is where the instance is made, ``cls`` where the name of the class stands before.
    """

    span: Span
    form: str
    function: str
    argument: str = ""
    made: Span | None = None
    cls: Span | None = None


class InnerBackward(Struct, frozen=True):
    """A backward pass inside of a custom function, which runs with gradients off."""

    span: Span
    call: str
    method: str
    computed: Span | None = None


class CheckpointCall(Struct, frozen=True):
    """A reentrant checkpoint of ``function`` that fails, or cuts the graph.

    ``form``: ``untracked`` (nothing that it is given requires grad, ``detail`` among it), ``frozen`` (the model
    ``function`` was frozen at ``at`` and has adapters, and checkpointing is turned on in it), ``keyword`` (it is given
    a keyword ``detail``), ``inputs`` (``detail`` at ``at`` asks for the gradients of some inputs). ``explicit``: the
    call says itself that it is reentrant.
    """

    span: Span
    form: str
    function: str
    detail: str
    explicit: bool
    at: Span | None = None


class EditedCheckpoint(Struct, frozen=True):
    """Parameters that the checkpoint of ``function`` at ``at`` uses are changed before the backward at ``used``.

    ``name`` is the parameter that is edited, or the optimizer that steps.
    """

    span: Span
    name: str
    function: str
    at: Span
    used: Span


class HandmadeCheckpoint(Struct, frozen=True):
    """``function`` is run with gradients off by what is called a checkpoint, ``name`` at ``at``."""

    span: Span
    at: Span
    function: str
    name: str


__all__ = [
    "BrokenState",
    "CheckpointCall",
    "CustomFunction",
    "EditedCheckpoint",
    "FunctionCall",
    "HandmadeCheckpoint",
    "InnerBackward",
    "KeptTensor",
    "SecondDerivative",
    "SpoiltTensor",
    "WrongGradients",
    "WrongSave",
]


class DirectForward(Struct, frozen=True):
    """The ``forward`` of ``module`` is called, rather than the module.

    ``sure``: it is one by its class; ``known``: by more than its name. ``method`` spans ``module.forward``.
    """

    span: Span
    module: str
    method: Span
    sure: bool
    known: bool
