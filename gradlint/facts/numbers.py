"""Facts about gradients that are no numbers: what the rule GRD215 reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


class NanGradient(Struct, frozen=True):
    """Values without a finite derivative are taken out after they were computed: their gradient is zero times infinity.

    ``form``: they are ``selected`` away, ``replaced`` where they are no numbers, or stand on the ``diagonal`` of the
    distances of a set to itself. ``by`` is what takes them out, ``call`` what has the infinite derivative. ``sure``: it
    is on the graph, as far as the body or its purpose tells.
    """

    span: Span
    form: str
    by: str
    call: str
    because: Reasons
    sure: bool
