"""Forwards in one autocast region: its cache keeps the casts of weights until the region ends (facts: GM25, GM51)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Obj
from gradlint.facts import Forward
from gradlint.facts.modes import CachedCast
from gradlint.ir import events as ir
from gradlint.project.values.uses import KEPT, RETURNED, STORED, WALKED, YIELDED

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

WANTED = (WALKED, RETURNED, YIELDED, STORED, KEPT)
"""Uses of a result after which somebody may go backward from it."""


def cached_casts(tracer: Tracer, run: Run) -> Iterator[CachedCast]:
    """Yield the forwards for training of one body behind one without gradients in their region, one per module."""
    forwards = [one for one in run.recorder.all(Forward) if len(one.module.atoms) == 1 and not one.through]
    if len(forwards) < 2:
        return
    definitions = tracer.definitions(run.body)
    regions = {enter.region: enter for enter in definitions.enters if is_caching(run, definitions, enter)}
    seen = set[object]()
    for region, enter in regions.items():
        inside = [one for one in forwards if region in run.body.graph.blocks[one.block].regions]
        for later in inside:
            earlier = next((one for one in inside if one.module.atoms == later.module.atoms), later)
            (module,) = later.module.atoms
            key = (region, module)
            if key in seen or earlier.span >= later.span or not earlier.modes.off or not later.modes.records:
                continue
            if is_wanted(tracer, run, definitions, later):
                seen.add(key)
                because = ((enter.span, "the region begins here"), (earlier.span, "called with gradients off here"))
                yield CachedCast(later.span, f"{later.module.name}(...)", enter.span, because)


def is_caching(run: Run, definitions: Definitions, enter: ir.Enter) -> bool:
    """Whether a ``with`` enters an autocast that is on and keeps its casts."""
    value = run.temps[enter.context] if enter.context >= 0 else frozenset()
    if not value or not all(isinstance(atom, Obj) and atom.type == "torch.autocast" for atom in value):
        return False
    call = definitions.makers.get(enter.context)
    given = dict(call.keywords) if isinstance(call, ir.Call) else {}
    off = (definitions.makers.get(given[name]) for name in ("enabled", "cache_enabled") if name in given)
    return not any(isinstance(maker, ir.Const) and maker.value is False for maker in off)


def is_wanted(tracer: Tracer, run: Run, definitions: Definitions, forward: Forward) -> bool:
    """Whether somebody may go backward from what a forward returns."""
    call = definitions.calls.get(forward.span)
    if call is None or grad_mode.never_records(tracer.modes(run.body, call)):
        return False
    return bool(tracer.trace(("ref", run.body, call.dst)).of(*WANTED))
