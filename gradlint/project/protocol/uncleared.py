"""Gradients that a step applies although they hold more than the last backward: nothing cleared them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Obj
from gradlint.facts import Backward, Clear, Reasons, Step, Touch, Uncleared
from gradlint.ir import events as ir
from gradlint.project.linked.players import are_on_one_side
from gradlint.project.protocol import ownership
from gradlint.project.protocol.protocol import Op, Protocol, optimizers
from gradlint.project.values.conditions import Conditions

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program


def uncleared(protocol: Protocol, evaluation: Evaluation) -> Iterator[Uncleared]:
    """Yield the backward passes of loops whose gradients are never cleared, each once, in source order."""
    if not protocol.is_training:
        return
    found: dict[object, Uncleared] = {}
    groups: set[tuple[int, Value]] = set()
    conditions = Conditions(protocol)
    for loop, backward, step in pairs(protocol):
        clears = [op for op in protocol.ops if loop in op.what.loops and may_clear(protocol, op, step)]
        serving = [op for op in clears if serves(protocol, conditions, op, backward, step, loop)]
        if not serving:
            group = (loop, optimizers(step))
            fact = made(backward, step, "the iterations before", outside(protocol, step, loop))
            if group not in groups:
                found.setdefault(fact.span, fact)
            groups.add(group)
        elif (other := polluting(protocol, evaluation, backward, step, loop, clears)) is not None:
            assert isinstance(other.what, Backward)
            reasons = ((other.what.span, f"`{other.what.call}` leaves gradients here"),)
            fact = made(backward, step, f"`{other.what.call}`", reasons)
            found.setdefault(fact.span, fact)
    for fact in forgotten(protocol):
        found.setdefault(fact.span, fact)
    yield from sorted(found.values(), key=lambda fact: fact.span)


def loops_around_steps(program: Program, bodies: Iterable[Body]) -> list[Body]:
    """The bodies that call, in a loop, a function that goes backward and makes a step: they need say no more of it."""
    training = {
        body.name
        for (body, _), run in program.runs.items()
        if run is not None and body.kind == "function" and {Backward, Step} <= set(map(type, run.recorder.in_order()))
    }
    return [body for body in bodies if training and not body.relevant and calls_in_loop(body, training)]


def calls_in_loop(body: Body, names: set[str]) -> bool:
    """Whether one of ``names`` is mentioned in a loop of ``body``."""
    return any(
        isinstance(event, (ir.Load, ir.Attr)) and event.name in names
        for block in body.graph.blocks
        if block.loops
        for event in block.events
    )


def pairs(protocol: Protocol) -> Iterator[tuple[int, Op, Op]]:
    """The backward passes with the steps that apply them, and the innermost loop around both."""
    for backward in protocol.backwards:
        for step in protocol.steps:
            loop = protocol.common_loop(backward, step)
            if loop is None or not optimizers(step) or protocol.renewed(step, loop):
                continue
            if protocol.feeds(backward, step, loop):
                yield loop, backward, step


def forgotten(protocol: Protocol) -> Iterator[Uncleared]:
    """Yield the passes of the player that a function forgets which steps several, and clears for another itself.

    It does so once per call; that it clears for one says that its callers do for none.
    """
    once = [step for step in protocol.steps if not step.what.loops and optimizers(step)]
    cleared = [step for step in once if clears_before(protocol, step)]
    for step in once if cleared else ():
        if any(may_clear(protocol, op, step) for op in protocol.ops) or is_cleared_elsewhere(protocol, step):
            continue
        for backward in protocol.backwards:
            if not backward.what.loops and protocol.feeds(backward, step, None):
                reasons = tuple(
                    (op.what.span, "cleared here, for another optimizer only")
                    for op in protocol.ops
                    if isinstance(op.what, Clear)
                )
                yield made(backward, step, "the calls before", reasons)


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
        for subject in clear.subject.atoms
    ]
    return any(
        ownership.covers(program, subject, optimizer, protocol.stepped) is not False
        for optimizer in optimizers(step)
        for subject in subjects
        # An optimizer that was made elsewhere is for other parameters.
        if subject is optimizer or not (isinstance(subject, Obj) and program.is_optimizer(subject))
    )


def may_clear(protocol: Protocol, op: Op, step: Op) -> bool:
    """Whether ``op`` may clear what ``step`` applies."""
    if isinstance(op.what, Touch) and not op.what.clears:
        return False
    return protocol.clears(op, step) is not False


def serves(protocol: Protocol, conditions: Conditions, op: Op, backward: Op, step: Op, loop: int) -> bool:
    """Whether a clear runs in the iterations of the pair: in no other branch, and not in the first one only."""
    near = any(protocol.leads(a, b, loop) for a, b in ((op, backward), (backward, op), (op, step), (step, op)))
    return near and not conditions.only_first(op, step, loop)


def polluting(
    protocol: Protocol, evaluation: Evaluation, backward: Op, step: Op, loop: int, clears: list[Op]
) -> Op | None:
    """The pass of another player, between the clear and ``backward``, that leaves gradients in this one."""
    owned = owned_by(protocol, step)
    if not owned or evaluation.frozen.covers(owned):
        return None
    for _, other, others_step in pairs(protocol):
        if optimizers(others_step) & optimizers(step) or not protocol.modules(other) & owned:
            continue
        if are_on_one_side(protocol, evaluation.tracer, other, owned, owned_by(protocol, others_step)):
            continue
        first = protocol.leads(other, others_step, loop) and protocol.leads(others_step, backward, loop)
        kept = not any(protocol.leads(other, op, loop) and protocol.leads(op, backward, loop) for op in clears)
        if first and kept and not protocol.leads(other, step, loop, [backward]):
            return other
    return None


def owned_by(protocol: Protocol, step: Op) -> Value:
    """The modules whose parameters a step updates, as far as is known."""
    return frozenset(module for atom in optimizers(step) for module in protocol.program.owners.get(atom) or ())


def outside(protocol: Protocol, step: Op, loop: int) -> Reasons:
    """The calls that clear these gradients in vain."""
    inside = "cleared here, on another path"
    return tuple(
        (op.what.span, inside if loop in op.what.loops else "cleared here, outside of the loop")
        for op in protocol.ops
        if isinstance(op.what, Clear) and protocol.clears(op, step)
    )


def made(backward: Op, step: Op, source: str, reasons: Reasons) -> Uncleared:
    """The fact about one pair."""
    assert isinstance(backward.what, Backward)
    assert isinstance(step.what, Step)
    applied = (step.what.origin or step.what.span, "applied here")
    return Uncleared(
        backward.what.origin or backward.what.span,
        backward.what.call,
        step.what.call,
        step.what.optimizer.name or "optimizer",
        source,
        (*reasons, applied),
    )
