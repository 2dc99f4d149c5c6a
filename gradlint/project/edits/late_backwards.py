"""Backward passes through a graph whose parameters an optimizer has changed since it was recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Obj, Sym
from gradlint.facts.edits import LateBackward
from gradlint.project import members
from gradlint.project.functions.checkpoint_edits import of_checkpoint
from gradlint.project.values import demands
from gradlint.project.values.aliases import following

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Value
    from gradlint.facts import Backward, Forward, Step
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
OF_OPTIMIZERS = frozenset("self optimizer optimiser optim opt optimizers solver".split())
OF_MODULES = frozenset("self net network model module".split())
"""Words in names that do not tell one optimizer, or module, from another."""


def late_backwards(
    program: Program,
    definitions_of: Callable[[Body], Definitions],
    run: Run,
    forwards: list[Forward],
    steps: list[Step],
    backwards: list[Backward],
) -> Iterator[LateBackward]:
    """The backward passes through what a step has changed, one for each step."""
    if len(backwards) < 2:
        return
    reached = [(backward, demands.ancestors(run, frozenset(backward.target.atoms))) for backward in backwards]
    again = {call.span for call in of_checkpoint(run, definitions_of(run.body))}
    # A checkpoint saves no parameters that torch could find changed.
    forwards = [forward for forward in forwards if forward.span not in again]
    for step in steps:
        found = late(program, definitions_of(run.body), step, forwards, reached) if not step.closure else None
        if found is not None:
            forward, backward = found
            name = step.variable or step.optimizer.name
            fused = step.optimizer.atoms <= program.fused
            yield LateBackward(backward.span, backward.call, forward.span, forward.module.name, step.span, name, fused)
            return


def late(
    program: Program,
    definitions: Definitions,
    step: Step,
    forwards: list[Forward],
    reached: list[tuple[Backward, set[Atom]]],
) -> tuple[Forward, Backward] | None:
    """A forward before ``step`` through what that changes, and a backward behind it that goes through the forward."""
    for forward in forwards:
        before = forward.span < step.span and forward.loops == step.loops and forward.result.attached
        if not before or is_layer(forward) or not is_owned(program, step, forward):
            continue
        through = [one for one, atoms in reached if forward.result.atoms <= atoms and one.loops == step.loops]
        # What an earlier pass has gone through and freed, a later one shares at most the call with.
        if any(one.span < step.span and not retains(definitions, one) for one in through):
            continue
        for backward in through:
            if step.span < backward.span and is_reached(definitions, step, backward):
                return forward, backward
    return None


def is_owned(program: Program, step: Step, forward: Forward) -> bool:
    """Whether a step changes the module that is called: its optimizer was made for it, or is called after it."""
    module = forward.module
    if not module.atoms:
        return False
    known = [program.owners.get(atom, frozenset()) for atom in step.optimizer.atoms]
    owned: Value = frozenset().union(*known)
    if owned:
        return all(atom in owned or is_held(program, atom, owned) for atom in module.atoms)
    ours = words(step.variable or step.optimizer.name) - OF_OPTIMIZERS - OF_MODULES
    return bool(ours) and ours == words(module.name) - OF_MODULES


def is_held(program: Program, module: Atom, owned: Value) -> bool:
    """Whether an attribute holds something unknown of which the parameters were given to the optimizer."""
    if not isinstance(module, Sym) or not isinstance(module.parent, Obj) or module.parent.cls is None:
        return False
    held = members.handed_in(program, module.parent.cls, module.path.rpartition(".")[2])
    return bool(held) and held <= owned


def words(name: str) -> frozenset[str]:
    """The words of a name."""
    return frozenset(word.lower() for word in WORD.findall(name))


def retains(definitions: Definitions, backward: Backward) -> bool:
    """Whether a backward pass may leave the graph as it is."""
    call = definitions.calls.get(backward.span)
    return call is None or any(name in ("retain_graph", "create_graph", None) for name, _ in call.keywords)


def is_layer(forward: Forward) -> bool:
    """Whether a single layer of torch is called, which may not need its parameters for backward."""
    return any(
        isinstance(atom, Obj) and atom.type.startswith("torch.nn.") and not atom.type.endswith("Sequential")
        for atom in forward.module.atoms
    )


def is_reached(definitions: Definitions, step: Step, backward: Backward) -> bool:
    """Whether a path leads from a step to a backward pass."""
    first = definitions.calls.get(step.span)
    second = definitions.calls.get(backward.span)
    return first is not None and second is not None and second in following(definitions, first, frozenset())
