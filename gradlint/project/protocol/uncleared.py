"""Gradients that a step applies although they hold more than the last backward: nothing cleared them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.facts import Backward, Clear, Reasons, Step, Uncleared
from gradlint.ir import events as ir
from gradlint.project.linked.players import are_on_one_side, judges
from gradlint.project.protocol.once_per_call import forgotten, is_cleared_elsewhere, of_own_optimizers
from gradlint.project.protocol.protocol import Op, Protocol, may_clear, optimizers
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
        inside = [op for op in protocol.ops if loop is None or loop in op.what.loops]
        clears = [op for op in inside if may_clear(protocol, op, step)]
        if loop is not None and not any(serves(protocol, conditions, op, backward, step, loop) for op in clears):
            group = (loop, optimizers(step))
            fact = made(backward, step, "the iterations before", outside(protocol, step, loop))
            if group not in groups:
                found.setdefault(fact.span, fact)
            groups.add(group)
        elif clears and (other := polluting(protocol, evaluation, backward, step, loop, clears)) is not None:
            reasons = ((other.what.span, f"`{shown(other)}` leaves gradients here"),)
            fact = made(backward, step, f"`{shown(other)}`", reasons)
            found.setdefault(fact.span, fact)
    for one in (*forgotten(protocol), *of_own_optimizers(protocol, evaluation.tracer)):
        fact = made(one.backward, one.step, "the calls before", one.reasons)
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


def pairs(protocol: Protocol) -> Iterator[tuple[int | None, Op, Op]]:
    """The backward passes with the steps that apply them, and the innermost loop around both; None: once per call."""
    for backward in protocol.backwards:
        for step in protocol.steps:
            loop = protocol.common_loop(backward, step)
            if not optimizers(step) or (loop is not None and protocol.renewed(step, loop)):
                continue
            if protocol.feeds(backward, step, loop):
                yield loop, backward, step


def serves(protocol: Protocol, conditions: Conditions, op: Op, backward: Op, step: Op, loop: int) -> bool:
    """Whether a clear runs in the iterations of the pair: in no other branch, and not in the first one only."""
    near = any(protocol.leads(a, b, loop) for a, b in ((op, backward), (backward, op), (op, step), (step, op)))
    return near and not conditions.only_first(op, step, loop)


def polluting(
    protocol: Protocol, evaluation: Evaluation, backward: Op, step: Op, loop: int | None, clears: list[Op]
) -> Op | None:
    """The pass of another player, behind the clear, that leaves gradients in this one: for this pass or the next."""
    owned = owned_by(protocol, step)
    if not owned or evaluation.frozen.covers(owned):
        return None
    for _, other, others_step in pairs(protocol):
        if optimizers(others_step) & optimizers(step) or not protocol.modules(other) & owned:
            continue
        others, tracer = owned_by(protocol, others_step), evaluation.tracer
        if not protocol.leads(other, others_step, loop) or are_on_one_side(protocol, tracer, other, owned, others):
            continue
        # What a pass for a head leaves in the encoder below it may be meant for both.
        if loop is None and not judges(protocol, tracer, other, owned, others):
            continue
        first = protocol.leads(others_step, backward, loop) and not protocol.leads(other, step, loop, [backward])
        kept = not any(protocol.leads(other, op, loop) and protocol.leads(op, backward, loop) for op in clears)
        if (first and kept) or lasts(protocol, other, backward, step, loop, clears):
            return other
    return None


def lasts(protocol: Protocol, other: Op, backward: Op, step: Op, loop: int | None, clears: list[Op]) -> bool:
    """Whether what a pass leaves behind a step is still there when the next iteration, or call, goes backward."""
    if protocol.leads(other, step, loop) or protocol.leads(other, backward, loop):
        return False
    again = protocol.comes_back(other, loop) if loop is not None else not is_cleared_elsewhere(protocol, step)
    return again and protocol.ends(other, loop, clears) and protocol.reached_from_start(backward, loop, clears)


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
        shown(backward),
        step.what.call,
        step.what.optimizer.name or "optimizer",
        source,
        (*reasons, applied),
    )


def shown(backward: Op) -> str:
    """The source of a pass, or of the call that makes it in another file."""
    assert isinstance(backward.what, Backward)
    return backward.what.call or f"{backward.what.through}(...)"
