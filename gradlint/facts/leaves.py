"""Facts about where a value falls off the graph, and what an optimizer or a flag then misses: for the rules GRD2xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gradlint.facts.base import Happening, Operand

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


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


class Hidden(Struct, frozen=True):
    """Parameters that a module uses and does not own.

    ``form``: ``layers`` or ``parameters`` in a container, a plain ``tensor`` that requires grad, one that is only
    ``drawn`` at random as weights are, a ``buffer``, a layer made in every ``forward``, or one that is ``replaced``
    there. ``name`` is what holds them, ``what`` the call that made them; ``kind`` is the display that an attribute
    starts as, if it holds nothing else: ``list``, ``tuple``, ``dict``.
    """

    span: Span
    form: str
    name: str
    what: str
    because: Reasons = ()
    kind: str = ""


class ArrayUse(Happening, frozen=True):
    """numpy, or something that hands on to it, is given what is on the graph: ``call`` does it.

    ``method``: it is the tensor's own method, ``numpy()``. ``inside``: the argument holds the tensors.
    ``known``: it is on the graph for all that is known, rather than a part of what a call returned, or for some
    callers only.
    """

    target: Operand
    call: str
    method: bool
    inside: bool = False
    known: bool = True


class LostGraph(Struct, frozen=True):
    """An operation that takes a value off the graph, on its way to a backward pass.

    ``kind``: a ``number`` is made of it, an ``array``, a ``copy``, a ``sample``; ``data`` is read, it is
    ``detached``; ``index``: what the operation returns has no derivative. ``call`` is the operation as written,
    ``name`` what it is applied to. ``whole``: nothing else puts the value on the graph from which the pass starts.
    """

    span: Span
    kind: str
    call: str
    name: str
    whole: bool
    backward: Span
    because: Reasons = ()
    sure: bool = False
    form: str = ""
    """The kind of another such operation to which its result is given; or ``list``, if it is applied to one."""
    starved: str = ""
    """The module that is meant to be trained and gets no gradient, although the rest of the loss is on the graph."""


class Exhausted(Struct, frozen=True):
    """An iterator over parameters, made by ``call`` at ``made`` and kept as ``name``, is used again at ``span``."""

    span: Span
    name: str
    call: str
    made: Span
    because: Reasons


class Rebound(Struct, frozen=True):
    """``name``, a leaf, is assigned the result of its update, whose gradient is read afterwards.

    ``optimizer``: what changes the leaf, if nobody reads its gradient by name: it does not know the new tensor.
    """

    span: Span
    name: str
    because: Reasons
    optimizer: str = ""


class MissingGradient(Struct, frozen=True):
    """A gradient is used that nothing has filled (``none``), or set to what is no tensor (``number``).

    ``untracked``: the tensor does not require grad, so nothing ever fills it. ``cleared``: ``zero_grad`` has set it to
    None, and nothing has filled it since.
    """

    span: Span
    form: str
    name: str
    written: str
    because: Reasons = ()


class NeedlessFlag(Struct, frozen=True):
    """An input or label is made to require grad, and nobody reads its gradient. ``form`` as in `GradFlag`.

    ``state``: it is rather what a recurrent network starts from.
    """

    span: Span
    form: str
    name: str
    state: bool = False
    because: Reasons = ()


class IntegerLeaf(Happening, frozen=True):
    """Gradients are asked of a tensor of integers or bools. ``how`` asks, ``made`` is where the tensor was made."""

    how: str
    made: Span | None = None


class RefusedFlag(Struct, frozen=True):
    """The flag of a computed tensor is set, which torch refuses: to ``value``, None if it is not known.

    ``moved``: the tensor is a copy on another device of one that has the flag.
    """

    span: Span
    name: str
    value: bool | None
    because: Reasons
    sure: bool
    moved: bool = False


class Unowned(Struct, frozen=True):
    """What an optimizer was not given.

    ``form``: parameters of a layer that was ``replaced`` or added, ``assigned`` from a state dict, or ``thawed``, after
    it was made; ``untracked``: it is given tensors that are no leaves. ``optimizer`` is the call that makes it.
    """

    span: Span
    form: str
    name: str
    optimizer: str
    because: Reasons = ()


class Untied(Struct, frozen=True):
    """Two parameters that were meant to be one, ``name`` and ``other``, and are trained as two.

    ``form``: ``data``: they share the memory only; ``turned``: and one is the other transposed; ``copied``: not even
    that; ``late``: an optimizer has the old one.
    """

    span: Span
    form: str
    name: str
    other: str
    because: Reasons = ()


class AliasedState(Struct, frozen=True):
    """``name`` holds the weights of ``model`` by reference while training goes on; ``made`` is where they are taken."""

    span: Span
    name: str
    model: str
    made: Span
    because: Reasons


class Unrestored(Struct, frozen=True):
    """The body may return at ``span`` with ``name`` frozen, which it thaws on its other ways out.

    ``toggled``: rather it clears there the flags of all tensors in ``name``, whichever required grad before.
    """

    span: Span
    name: str
    because: Reasons
    toggled: bool = False


class GradRead(Happening, frozen=True):
    """``.grad`` of a computed tensor is read, or (``optimized``) an optimizer is given one."""

    target: Operand
    optimized: bool = False


class NoLeaf(Struct, frozen=True):
    """``name`` is used as a leaf and computed from one: its ``.grad`` is read, or an optimizer is given it.

    ``leaf`` is where the leaf was made which nothing else holds, ``how`` what is done to it there. ``promised``: the
    function ``name`` is asked for a leaf by an argument, and returns what is computed from it.
    """

    span: Span
    name: str
    optimized: bool
    because: Reasons
    leaf: Span | None = None
    made: Span | None = None
    how: str = ""
    promised: bool = False


class LostParameter(Struct, frozen=True):
    """A module's attribute ``name`` is computed from the parameter made at ``made``, and is none itself."""

    span: Span
    name: str
    made: Span
