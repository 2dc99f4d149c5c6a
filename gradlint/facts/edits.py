"""Facts about edits in place: what the rules GRD3xx read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gradlint.facts.base import Elsewhere, Happening, Operand, Reasons

if TYPE_CHECKING:
    from gradlint.domains import tensor
    from gradlint.ir.events import Span


class Edit(Happening, frozen=True):
    """An in-place edit.

    ``writes_leaf``: the memory belongs to a leaf that requires grad, on every path. ``saved`` are the recorded
    operations that still need that memory for their backward. ``backwarded``: a backward in this body follows.
    ``called`` is the call that hands the tensor to the function of this file in which the edit stands, if any.
    ``alias``: the memory belongs to another tensor as well, of which the target is a view. ``inside``: where in a
    function that is given the target here the edit itself stands. ``some`` keep one of the things that the target may
    be, where it is not known to be that one. ``left_to_others``: it stands in a method that torch itself calls with
    gradients off, and nobody in sight calls it.
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
    left_to_others: bool = False

    def handed_over(self) -> Reasons:
        """Where the target is given to the function that edits it, and where that does; nothing for an edit here."""
        return () if self.inside is None else ((self.span, "handed over here"), (self.inside, "edited here"))

    def because(self) -> Reasons:
        """Where the edit is made."""
        return self.handed_over() or ((self.span, "edited here"),)


class OutWrite(Happening, frozen=True):
    """A function of torch writes its result to ``out=target``. ``tracked`` is an argument that requires grad for
    certain, as the source calls it; empty if none does.
    """

    target: Operand
    op: str
    tracked: str


class UnseenEdit(Happening, frozen=True):
    """An edit that torch does not count, of memory that the recorded operations ``saved`` keep for their backward.

    ``backwarded``: a backward in this body follows.
    """

    target: Operand
    op: str
    saved: tuple[tensor.Saved, ...]
    backwarded: bool = False


class ViewEdit(Struct, frozen=True):
    """An edit in place of a view that torch refuses to edit, or of memory that stands for several elements.

    ``form``: ``expanded``, ``multi`` (one of several views that one call or a loop has made), ``silent`` (all rows of
    an expanded tensor are written), ``blind`` (the view was made with gradients off), ``hooked`` (what a module with a
    backward hook has returned). ``how`` made it, at ``made``; for the last, the hook is registered there.
    """

    edit: Edit
    form: str
    how: str
    made: Span


class Recurrence(Struct, frozen=True):
    """An edit that writes into a buffer, in a loop, what a call computes from a part of the same buffer.

    ``read`` is that part, which the ``call`` may save for backward.
    """

    edit: Edit
    read: Span
    call: Span
    name: str


class MixedModes(Struct, frozen=True):
    """A module with batch normalisation is called in eval mode, then in train mode, then a backward uses the first."""

    span: Span
    module: str
    kept: Span
    backward: Span


class DetachInPlace(Happening, frozen=True):
    """A call of ``detach_``. ``saved`` are the recorded operations that keep the target as an input.

    ``view`` is where the target was made as a view, None if it is not known to be one. ``lent`` is the parameter that
    the caller's tensor was handed in as, where what the call returns is taken for another tensor.
    """

    target: Operand
    saved: tuple[tensor.Saved, ...]
    view: Span | None = None
    lent: str = ""


class ArgumentEdit(Struct, frozen=True):
    """An edit in place of the tensor that a caller has handed in as ``parameter``.

    ``name`` is the variable that holds it there; empty if that is a view of it.
    """

    edit: Edit
    parameter: str
    name: str


class HiddenEdit(Struct, frozen=True):
    """An edit in place, with gradients off, of a result on the graph that somebody goes backward from afterwards.

    ``used`` is where.
    """

    edit: Edit
    off: Span
    used: Span


class LateBackward(Struct, frozen=True):
    """A backward pass through a forward whose parameters a step has changed in between.

    ``fused``: the optimizer was made with ``fused=True``, and torch does not count what it changes.
    """

    span: Span
    call: str
    forward: Span
    module: str
    step: Span
    optimizer: str
    fused: bool = False

    def because(self) -> Reasons:
        """Where the graph is recorded, where its parameters change, and the backward."""
        return (
            (self.forward, "the graph is recorded here"),
            (self.step, "its parameters are changed here"),
            (self.span, "backward here"),
        )


class SharedEdit(Struct, frozen=True):
    """An edit in place that another name sees, which is read afterwards in the belief that it does not.

    ``form``: ``detached`` (one is made from the other by ``detach`` or ``data``), ``alias`` (both are one tensor),
    ``result`` (what the edit returns goes on under a name of its own, and so does what it edited). ``other`` is the
    other name, ``read`` where it is read; None if only the caller holds it. ``detached`` is the call that was taken
    for a copy.
    """

    edit: Edit
    form: str
    other: str
    read: Span | None
    detached: Span | None = None
    how: str = ""

    @property
    def span(self) -> Span:
        """Where the edit is made."""
        return self.edit.span

    def because(self) -> Reasons:
        """Where the memory came to be shared, the edit, and where the other name is read."""
        shared: Reasons = ((self.detached, f"`{self.how}` makes no copy"),) if self.detached is not None else ()
        read: Reasons = ((self.read, f"`{self.other}` is read here"),) if self.read is not None else ()
        return (*shared, (self.edit.span, "edited here"), *read)
