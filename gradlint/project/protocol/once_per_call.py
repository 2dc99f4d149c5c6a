"""Functions that go backward and make a step once per call: what the calls before have left is applied again.

Their callers may clear, out of sight, unless the function or its class says that they do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Obj
from gradlint.facts import Clear, Reasons
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.protocol import ownership
from gradlint.project.protocol.protocol import Op, Protocol, may_clear, optimizers
from gradlint.project.values.uses import class_around
from gradlint.torch_model import torch_optimizers

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
    from gradlint.project.values.uses import Tracer


class Once(NamedTuple):
    """A pass and the step that applies it, once per call; ``reasons``: what is cleared instead."""

    backward: Op
    step: Op
    reasons: Reasons


def forgotten(protocol: Protocol) -> Iterator[Once]:
    """Yield the passes of the player that a function forgets which steps several, and clears for another itself.

    That it clears for one says that its callers do for none.
    """
    once = steps(protocol)
    cleared = [step for step in once if clears_before(protocol, step)]
    for step in once if cleared else ():
        reasons = tuple(
            (op.what.span, "cleared here, for another optimizer only")
            for op in protocol.ops
            if isinstance(op.what, Clear)
        )
        yield from (Once(backward, step, reasons) for backward in never_cleared(protocol, step))


def of_own_optimizers(protocol: Protocol, tracer: Tracer) -> Iterator[Once]:
    """Yield the passes of a method whose object has made the optimizer itself, in a file where nobody clears for it."""
    around = class_around(protocol.run.body)
    if (
        around is None
        or around[0] is not protocol.run.body
        or not classes.is_all_in_sight(protocol.program.class_of(around[1]))
    ):
        return
    for step in steps(protocol):
        if all(is_made_by(protocol, tracer, around[1], atom) for atom in optimizers(step)):
            # A loss that is handed in may come from a caller who clears.
            yield from (Once(one, step, ()) for one in never_cleared(protocol, step) if protocol.modules(one))


# -- what is cleared ---------------------------------------------------------------------------------------


def steps(protocol: Protocol) -> list[Op]:
    """The steps that a body makes once per call."""
    return [step for step in protocol.steps if not step.what.loops and optimizers(step)]


def never_cleared(protocol: Protocol, step: Op) -> list[Op]:
    """The passes that a step applies, once per call, if nothing in the file may clear what they fill."""
    if any(may_clear(protocol, op, step) for op in protocol.ops) or is_cleared_elsewhere(protocol, step):
        return []
    return [one for one in protocol.backwards if not one.what.loops and protocol.feeds(one, step, None)]


def clears_before(protocol: Protocol, step: Op) -> bool:
    """Whether the function clears what it applies with ``step``, in front of the pass that fills it."""
    return any(
        isinstance(op.what, Clear) and may_clear(protocol, op, step) and protocol.leads(op, backward, None)
        for op in protocol.ops
        for backward in protocol.backwards
        if protocol.feeds(backward, step, None)
    )


def is_cleared_elsewhere(protocol: Protocol, step: Op) -> bool:
    """Whether another function of the file may clear what ``step`` applies."""
    program = protocol.program
    subjects = [
        subject
        for (body, _), run in program.runs.items()
        if run is not None and body is not protocol.run.body
        for clear in run.recorder.all(Clear)
        if clear.origin is None or not ir.is_within(clear.origin, protocol.run.body.span)
        for subject in clear.subject.atoms
    ]
    return any(
        ownership.covers(program, subject, optimizer, protocol.stepped) is not False
        for optimizer in optimizers(step)
        for subject in subjects
        # An optimizer that was made elsewhere is for other parameters.
        if subject is optimizer or not (isinstance(subject, Obj) and program.is_optimizer(subject))
    )


# -- whose optimizer it is ---------------------------------------------------------------------------------


def is_made_by(protocol: Protocol, tracer: Tracer, cls: Body, optimizer: Atom) -> bool:
    """Whether the objects of a class make an optimizer of torch, and the modules that it trains, where they are set up.

    Whoever has handed in a module may clear its gradients.
    """
    owned = protocol.program.owners.get(optimizer) or frozenset()
    made = [atom.event if isinstance(atom, Obj) else None for atom in (optimizer, *owned)]
    set_up = [tracer.definitions(method).blocks for method in tracer.methods(cls) if method.name == "__init__"]
    is_of_torch = isinstance(optimizer, Obj) and optimizer.type in torch_optimizers()
    return is_of_torch and bool(owned) and all(any(event in blocks for blocks in set_up) for event in made)
