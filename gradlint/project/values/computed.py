"""Where the result of a function stands on the graph if it was computed from nothing but its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import RESULT, Literal, Obj, Sym
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.project.summaries import Run

MOST_STEPS = 100
"""How many values are looked through."""


def place_of(run: Run, result: Atom, given: Callable[[Sym], int]) -> int:
    """The place of ``result`` where the parameters of the function that ``run`` solved stand as ``given`` tells."""
    operands: list[int] = []
    pending, seen = [result], {result}
    while pending and len(seen) < MOST_STEPS:
        atom = pending.pop()
        known = run.plain.get(atom, tensor.ANY)
        origins = run.origins.get(atom)
        if known != tensor.ANY:
            operands.append(known)
        elif isinstance(atom, Sym) and atom.scope is run.body and "." not in atom.path:
            operands.append(given(atom))
        elif origins is not None and not is_made_out_of_sight(atom):
            pending.extend(origins - seen)
            seen |= origins
        elif not isinstance(atom, Literal):
            return tensor.ANY
    return tensor.result_of(operands) if operands and not pending else tensor.ANY


def is_made_out_of_sight(atom: Atom) -> bool:
    """Whether a call has returned something of which nothing is known: it may have parameters of its own."""
    return isinstance(atom, Obj) and atom.type == RESULT and isinstance(atom.event, ir.Call)
