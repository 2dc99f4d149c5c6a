"""Calls of `torch.utils.checkpoint.checkpoint` that run the reentrant variant, and what it does not do.

That is the variant with ``use_reentrant=True``, and the one that is taken where the argument is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import CONTAINER, TENSOR, Api, Literal, Obj
from gradlint.facts import GradFlag
from gradlint.facts.functions import CheckpointCall
from gradlint.ir import events as ir
from gradlint.project.functions.frozen_checkpoints import frozen_checkpoints
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.facts import Backward
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

CHECKPOINT = "torch.utils.checkpoint.checkpoint"
OWN = frozenset({"use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"})
"""Keywords that `checkpoint` takes itself."""
SEQUENTIAL = "torch.utils.checkpoint.checkpoint_sequential"
SEQUENTIAL_INPUT = 2
"""The position of the input of `checkpoint_sequential`, behind the modules and how many segments to make of them."""


def checkpoints(program: Program, tracer: Tracer, run: Run, backwards: list[Backward]) -> Iterator[CheckpointCall]:
    """The reentrant checkpoints of one body that fail, or that cut the graph."""
    yield from frozen_checkpoints(run, tracer.definitions(run.body))
    definitions = tracer.definitions(run.body)
    for event in definitions.events(ir.Call):
        names = {atom.name for atom in run.temps[event.func] if isinstance(atom, Api)} if event.func >= 0 else set()
        if SEQUENTIAL in names:
            yield from sequential(tracer, run, event)
        if CHECKPOINT not in names or not is_reentrant(run, event):
            continue
        explicit = any(name == "use_reentrant" for name, _ in event.keywords)
        foreign = [name for name, _ in event.keywords if name is not None and name not in OWN]
        name = run.labels[event.args[0]] if event.args else ""
        if foreign:
            yield CheckpointCall(event.span, "keyword", name, foreign[0], explicit)
            continue
        walked = asked_for(run, event, backwards)
        if walked is not None:
            yield CheckpointCall(event.span, "inputs", name, walked.how, explicit, walked.span)
        elif (
            is_untracked(run, definitions, event, event.args[1:])
            and not tracer.modes(run.body, event) & grad_mode.NO_GRAPH
        ):
            yield CheckpointCall(event.span, "untracked", name, run.labels[event.args[1]], explicit)


def sequential(tracer: Tracer, run: Run, event: ir.Call) -> Iterator[CheckpointCall]:
    """A reentrant `checkpoint_sequential`: all but the last of its segments are checkpoints, one after the other."""
    if len(event.args) <= SEQUENTIAL_INPUT or not is_reentrant(run, event):
        return
    segments = [atom.value for atom in run.temps[event.args[1]] if isinstance(atom, Literal)]
    several = len(segments) == 1 and isinstance(segments[0], int) and segments[0] > 1
    given = event.args[SEQUENTIAL_INPUT:]
    definitions = tracer.definitions(run.body)
    if (
        several
        and is_untracked(run, definitions, event, given)
        and not tracer.modes(run.body, event) & grad_mode.NO_GRAPH
    ):
        explicit = any(name == "use_reentrant" for name, _ in event.keywords)
        yield CheckpointCall(event.span, "untracked", run.labels[event.args[0]], run.labels[given[0]], explicit)


def is_reentrant(run: Run, event: ir.Call) -> bool:
    """Whether the reentrant variant runs for certain."""
    if event.starred or any(name is None for name, _ in event.keywords):
        return False
    given = [run.temps[ref] for name, ref in event.keywords if name == "use_reentrant"]
    return not given or all(isinstance(atom, Literal) and atom.value is True for atom in given[0])


def asked_for(run: Run, event: ir.Call, backwards: list[Backward]) -> Backward | None:
    """The backward pass through a checkpoint that asks for the gradients of some inputs only."""
    made = frozenset(atom for atom in run.temps[event.dst] if isinstance(atom, Obj))
    for backward in backwards:
        partial = made and (backward.how == "grad" or backward.inputs) and event.span < backward.span
        if partial and made <= demands.ancestors(run, frozenset(backward.target.atoms)):
            return backward
    return None


def is_untracked(run: Run, definitions: Definitions, event: ir.Call, given: tuple[ir.Ref, ...]) -> bool:
    """Whether no argument of the function that is run requires grad for certain, and one of them is a tensor."""
    tensors = 0
    for ref in given:
        for atom in run.temps[ref] if ref >= 0 else frozenset():
            place = run.places.get(atom)
            if isinstance(atom, Literal):
                continue
            if not isinstance(atom, Obj) or atom.type == CONTAINER or place is None or not place.graph:
                return False
            if place.graph & ~tensor.NO_GRAPH and not is_flagged_later(run, definitions, event, atom):
                return False
            tensors += atom.type == TENSOR
    return tensors > 0


def is_flagged_later(run: Run, definitions: Definitions, event: ir.Call, atom: Obj) -> bool:
    """Whether a tensor was made without a graph, and asked for a gradient only behind a call."""
    if run.plain.get(atom, tensor.ANY) & ~tensor.NO_GRAPH or definitions.loops(event):
        return False
    flags = [flag.span for flag in run.recorder.all(GradFlag) if atom in flag.target.atoms]
    return bool(flags) and all(span[:2] >= event.span[2:] for span in flags)
