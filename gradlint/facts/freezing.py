"""Facts about what is frozen and what goes on in it all the same, and about what should be: for rules GRD2xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


class NothingLeft(Struct, frozen=True):
    """All that is trained here is frozen.

    ``form``: an ``optimizer`` is given the parameters, or a ``backward`` starts from what was computed with them.
    ``call`` is the source of the call, ``name`` what is frozen.
    """

    span: Span
    form: str
    call: str
    name: str
    because: Reasons


class StaleGradient(Struct, frozen=True):
    """``name`` is frozen while it holds a gradient that ``step`` will apply.

    ``is_tensor``: the statement freezes a single parameter, or one after the other, rather than a module at once.
    """

    span: Span
    name: str
    step: str
    because: Reasons
    is_tensor: bool


class LiveStatistics(Struct, frozen=True):
    """``name`` is frozen, and its batch norms go on updating their running statistics.

    ``undone``: it is put into eval mode, but whoever calls ``train()`` on the module that holds it takes that back.
    """

    span: Span
    name: str
    undone: bool
    because: Reasons


class ConstantParameter(Struct, frozen=True):
    """``name`` is a parameter, trainable, and made of what looks like a constant: the result of ``made``."""

    span: Span
    name: str
    made: str
    because: Reasons
