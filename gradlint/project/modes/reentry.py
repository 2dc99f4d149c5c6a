"""Gradient-mode objects that are entered twice, and transforms of functions that turn gradients off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Api, Context, Fn, Obj, Sym
from gradlint.facts.modes import FlatTransform, Reentered
from gradlint.ir import events as ir
from gradlint.project import summaries
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

TRANSFORMS = frozenset(f"torch.func.{name}" for name in "grad grad_and_value vjp jacrev hessian".split()) | frozenset(
    f"functorch.{name}" for name in "grad grad_and_value vjp jacrev hessian".split()
)
FORWARD = frozenset(f"{package}.{name}" for package in ("torch.func", "functorch") for name in ("jvp", "jacfwd"))
"""Transforms that differentiate in forward mode, which does not look at the gradient mode (facts: GM67)."""


def reentered(run: Run) -> Iterator[Reentered]:
    """Yield the ``with`` statements that enter a stored object which one around them has entered, in source order."""
    entered: dict[int, tuple[Context, Span]] = {}
    found: dict[Span, Reentered] = {}
    enters = [
        (block, event) for block in run.body.graph.blocks for event in block.events if isinstance(event, ir.Enter)
    ]
    for _, event in enters:
        value = run.temps[event.context] if event.context >= 0 else frozenset()
        only = next(iter(value)) if len(value) == 1 else None
        if isinstance(only, Context) and only.span != event.span and run.labels[event.context]:
            entered[event.region] = only, event.span
    for block, event in enters:
        mine = entered.get(event.region)
        outer = [entered[region] for region in block.regions if region in entered and region != event.region]
        for context, span in outer:
            if mine is not None and mine[0] is context and span < event.span:
                because = ((span, "entered here already"),)
                found[event.span] = Reentered(event.span, context.type, run.labels[event.context], because)
    yield from sorted(found.values(), key=lambda fact: fact.span)


def flat_transforms(program: Program, run: Run) -> Iterator[FlatTransform]:
    """Yield the transforms of one body whose function returns what has no graph, in source order."""
    calls = (event for event in run.body.graph.events() if isinstance(event, ir.Call))
    for event in calls:
        if event.func < 0 or not event.args:
            continue
        names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[event.func]}
        if not names or not (names <= TRANSFORMS or names <= FORWARD):
            continue
        given = run.temps[event.args[0]] if event.args[0] >= 0 else frozenset()
        functions = [atom for atom in given if isinstance(atom, Fn)]
        is_lost = is_flat if names <= TRANSFORMS else is_partly_flat
        if functions and len(functions) == len(given) and all(is_lost(program, fn) for fn in functions):
            fn, ignored = functions[0], names <= FORWARD
            because = ((fn.body.name_span, "turns gradients off"),)
            yield FlatTransform(event.span, f"{names.pop()}(...)", fn.body.name or "the function", because, ignored)


def is_partly_flat(program: Program, fn: Fn) -> bool:
    """Whether something that a function returns is computed from an argument with gradients off."""
    if is_flat(program, fn):
        return True
    run = program.run(fn.body, grad_mode.INHERITED)
    if run is None or not run.complete:
        return False
    returned = frozenset(atom for group in run.returned.values() for one in group for atom in one.value)
    for atom in demands.ancestors(run, returned):
        if isinstance(atom, Obj) and run.plain.get(atom) == tensor.OFF:
            sources = demands.ancestors(run, frozenset((atom,)))
            if any(isinstance(source, Sym) and source.scope is fn.body for source in sources):
                return True
    return False


def is_flat(program: Program, fn: Fn) -> bool:
    """Whether a function returns only what it computed with gradients off, from a graph that it was given."""
    known = program.functions.get(fn.body, fn)
    inside = summaries.inside(known, grad_mode.ON)
    if grad_mode.never_records(inside):
        return True
    run = program.run(fn.body, grad_mode.INHERITED)
    if run is None or not run.complete:
        return False
    groups = [one for group in run.returned.values() for one in group]
    return bool(groups) and all(
        bool(one.value)
        and all(
            isinstance(atom, Obj) and atom in one.places and one.places[atom].graph == tensor.OFF for atom in one.value
        )
        for one in groups
    )
