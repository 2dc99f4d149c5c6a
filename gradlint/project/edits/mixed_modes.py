"""Batch normalisation that is called in eval mode and then in train mode, before the backward of the first call.

In eval mode the graph keeps the running statistics, which the call in train mode changes without counting it as an
edit (facts: IP19).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import Obj
from gradlint.facts.edits import MixedModes
from gradlint.ir import events as ir
from gradlint.project.protocol import ownership
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.facts import Backward, Forward
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


def mixed_modes(program: Program, run: Run, forwards: list[Forward], backwards: list[Backward]) -> Iterator[MixedModes]:
    """The forwards in train mode behind one in eval mode whose graph is still needed, one for each graph."""
    if len(forwards) < 2:
        return
    for kept in forwards:
        needed = kept.result.attached and kept.modes.records and mode_of(kept) == EVAL
        if not needed or not any(has_statistics(program, atom) for atom in kept.module.atoms):
            continue
        for later in forwards:
            if later.span <= kept.span or later.module.atoms != kept.module.atoms or mode_of(later) != TRAIN:
                continue
            used = first_use(run, kept, later, backwards)
            if used is not None and later.loops == kept.loops:
                yield MixedModes(later.span, kept.module.name, kept.span, used.span)
                break


def mode_of(forward: Forward) -> int:
    """The mode of the module: one mark if it is known."""
    return forward.marks & (EVAL | TRAIN | UNTOUCHED)


def first_use(run: Run, kept: Forward, later: Forward, backwards: list[Backward]) -> Backward | None:
    """The first backward pass behind ``later`` that goes through the graph of ``kept``."""
    for backward in backwards:
        if later.span >= backward.span or backward.loops != kept.loops:
            continue
        if kept.result.atoms <= demands.ancestors(run, frozenset(backward.target.atoms)):
            return backward
    return None


def has_statistics(program: Program, module: Atom) -> bool:
    """Whether a module is a batch normalisation that keeps running statistics, or has such a part."""
    return any(is_batch_norm(part) for part in (module, *ownership.parts(program, module)))


def is_batch_norm(module: Atom) -> bool:
    """Whether a module is a batch normalisation that keeps running statistics."""
    if not isinstance(module, Obj) or "BatchNorm" not in module.type or not isinstance(module.event, ir.Call):
        return False
    return all(name not in ("track_running_stats", None) for name, _ in module.event.keywords)
