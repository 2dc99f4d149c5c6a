"""Facts about custom autograd functions and checkpoints: what the rules GRD6xx read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.ir.events import Span


@dataclass(frozen=True, slots=True)
class KeptTensor:
    """``ctx.attribute`` holds a tensor. ``role``: ``input`` or ``output`` of the function; ``name`` is the tensor's.

    ``owner``: what is kept is an object, of which an attribute is the output. ``reads`` are where backward reads it;
    ``alone``: it is the only thing that is assigned there, and nothing is given to ``save_for_backward``.
    """

    span: Span
    attribute: str
    name: str
    role: str
    owner: bool = False
    reads: tuple[Span, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class BrokenState:
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


@dataclass(frozen=True, slots=True)
class WrongGradients:
    """What backward returns does not fit what forward takes.

    ``form``: ``few``, ``many``, ``missing`` (it returns nothing), ``index`` (of ``needs_input_grad``, beyond the
    inputs), ``shifted`` (the index is that of another input), ``context`` (``forward`` has no ``ctx``, and nothing sets
    one up), ``double`` (it has one, and ``setup_context`` too). ``found`` and ``wanted`` are counts or positions.
    """

    span: Span
    form: str
    found: int
    wanted: int
    at: Span
    name: str = ""


@dataclass(frozen=True, slots=True)
class SpoiltTensor:
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


@dataclass(frozen=True, slots=True)
class WrongSave:
    """A call of ``save_for_backward`` that loses something. ``form``: ``twice`` (the call at ``at`` came first, and is
    forgotten), ``plain`` (the argument ``name`` is no tensor).
    """

    span: Span
    form: str
    name: str
    at: Span


@dataclass(frozen=True, slots=True)
class CustomFunction:
    """A class derived from `torch.autograd.Function`."""

    name: str
    span: Span
    kept: tuple[KeptTensor, ...] = ()
    broken: tuple[BrokenState, ...] = ()
    gradients: tuple[WrongGradients, ...] = ()
    spoilt: tuple[SpoiltTensor, ...] = ()
    saves: tuple[WrongSave, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A custom function is used other than by ``apply``.

    ``form``: ``called`` (``Fn()(x)``), ``made`` (an instance is made for others to call), ``forward``
    (``Fn.forward(None, x)``), ``container`` (``Fn.apply([x])``: the tensor ``argument`` is inside of a container).
    ``made`` is where the instance is made, ``cls`` where the name of the class stands before.
    """

    span: Span
    form: str
    function: str
    argument: str = ""
    made: Span | None = None
    cls: Span | None = None


@dataclass(frozen=True, slots=True)
class InnerBackward:
    """A backward pass inside of a custom function, which runs with gradients off."""

    span: Span
    call: str
    method: str
    computed: Span | None = None


@dataclass(frozen=True, slots=True)
class CheckpointCall:
    """A reentrant checkpoint of ``function`` that fails, or cuts the graph.

    ``form``: ``untracked`` (nothing that it is given requires grad, ``detail`` among it), ``keyword`` (it is given a
    keyword ``detail``), ``inputs`` (``detail`` at ``at`` asks for the gradients of some inputs). ``explicit``: the call
    says itself that it is reentrant.
    """

    span: Span
    form: str
    function: str
    detail: str
    explicit: bool
    at: Span | None = None


__all__ = [
    "BrokenState",
    "CheckpointCall",
    "CustomFunction",
    "FunctionCall",
    "InnerBackward",
    "KeptTensor",
    "SpoiltTensor",
    "WrongGradients",
    "WrongSave",
]
