"""Gradients that are asked for inside inference mode, where nothing is recorded whatever is asked (GM14, GM52)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Context
from gradlint.facts import Modes
from gradlint.facts.modes import VainEnable
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.summaries import Run

FUNCTIONAL = frozenset(f"torch.autograd.functional.{name}" for name in "jacobian hessian vjp jvp vhp hvp".split())
"""Functions whose results are zero in inference mode."""


def vain_enables(run: Run) -> Iterator[VainEnable]:
    """Yield what asks for gradients in one body although inference mode is in force, in source order."""
    found: dict[Span, VainEnable] = {}
    for block in run.body.graph.blocks:
        for position, event in enumerate(block.events):
            if run.recorder.modes_at(block.index, position) != grad_mode.INFERENCE:
                continue
            asked = asks(run, event)
            if asked is not None:
                form, span, call = asked
                region = entered(run, block.regions)
                modes = Modes(grad_mode.INFERENCE, {grad_mode.INFERENCE: region} if region is not None else {})
                found.setdefault(span, VainEnable(span, form, call, modes, modes.because()))
    yield from sorted(found.values(), key=lambda fact: fact.span)


def asks(run: Run, event: ir.Event) -> tuple[str, Span, str] | None:
    """How, where and by what an event asks for gradients; None if it does not."""
    if isinstance(event, ir.Enter) and event.context >= 0:
        value = run.temps[event.context]
        contexts = [atom for atom in value if isinstance(atom, Context) and is_on(atom)]
        if contexts and len(contexts) == len(value):
            return "enable", contexts[0].span, f"{contexts[0].type}({'True' if contexts[0].flag is True else ''})"
    if isinstance(event, ir.Call) and event.func >= 0:
        names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[event.func]}
        if names and names <= FUNCTIONAL:
            return "functional", event.span, f"{names.pop()}(...)"
    return None


def is_on(context: Context) -> bool:
    """Whether a context asks for gradients for certain."""
    return context.type == "torch.enable_grad" or (context.type == "torch.set_grad_enabled" and context.flag is True)


def entered(run: Run, regions: tuple[int, ...]) -> Span | None:
    """Where the innermost ``with torch.inference_mode()`` around something is."""
    found: Span | None = None
    for event in run.body.graph.events():
        if isinstance(event, ir.Enter) and event.region in regions and event.context >= 0:
            for atom in run.temps[event.context]:
                if isinstance(atom, Context) and atom.type == "torch.inference_mode":
                    found = atom.span
    return found
