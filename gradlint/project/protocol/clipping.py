"""Gradients that are clipped where that does not bound the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, Atom, Obj
from gradlint.facts import Clear, Reasons, Step
from gradlint.facts.protocol import Clip, MisplacedClip
from gradlint.ir import events as ir
from gradlint.project.protocol import ownership
from gradlint.project.protocol.protocol import Op, Protocol, is_plain, optimizers
from gradlint.project.protocol.wiped import is_used_elsewhere, runs_through
from gradlint.project.values.conditions import Conditions

if TYPE_CHECKING:
    from gradlint.ir.events import Span

ACCUMULATE = ".accumulate(...)"
SYNCHRONISED = "sync_gradients"
"""What accelerate says where the gradients of an accumulation are whole."""


def misplaced(protocol: Protocol) -> Iterator[MisplacedClip]:
    """Yield the calls that clip in vain, each once, in source order."""
    found: dict[Span, MisplacedClip] = {}
    for clip in protocol.clips:
        assert isinstance(clip.what, Clip)
        if clip.what.refused and not clip.what.through:
            found.setdefault(clip.what.span, refused(clip.what))
    conditions = Conditions(protocol)
    for clip in protocol.clips if protocol.is_training else ():
        assert isinstance(clip.what, Clip)
        if clip.what.measures or clip.what.span in found or is_helper_of_all(protocol, clip):
            continue
        fact = (
            before_backward(protocol, clip)
            or after_step(protocol, clip)
            or every_micro_batch(protocol, conditions, clip)
            or of_other_model(protocol, clip)
        )
        if fact is not None:
            found[fact.span] = fact
    yield from sorted(found.values(), key=lambda fact: fact.span)


def is_helper_of_all(protocol: Protocol, clip: Op) -> bool:
    """Whether one call of a function goes backward or makes the step as well: what is wrong there is said there."""
    return any(op.what.span == clip.what.span for op in (*protocol.backwards, *protocol.steps))


def concerns(protocol: Protocol, clip: Op, step: Op) -> bool:
    """Whether what is clipped may be what ``step`` applies."""
    assert isinstance(clip.what, Clip)
    answers = {
        ownership.covers(protocol.program, subject, optimizer, protocol.stepped)
        for subject in clip.what.subject.atoms
        for optimizer in optimizers(step)
    }
    return answers != {False}


# -- where in the iteration --------------------------------------------------------------------------------


def before_backward(protocol: Protocol, clip: Op) -> MisplacedClip | None:
    """Clipped before any backward has filled what the step applies."""
    for step in protocol.steps:
        loop = protocol.common_loop(clip, step)
        if not concerns(protocol, clip, step) or protocol.leads(clip, step, loop, protocol.backwards):
            continue
        if any(protocol.leads(other, clip, loop) for other in protocol.backwards):
            continue
        for backward in protocol.backwards:
            first = protocol.leads(clip, backward, loop) and protocol.leads(backward, step, loop)
            if first and is_plain(backward) and protocol.fills(backward, step):
                because = ((backward.what.span, "the gradients are computed here"), applied(step))
                return made(clip, "before", step, because)
    return None


def after_step(protocol: Protocol, clip: Op) -> MisplacedClip | None:
    """Clipped when the step is made, and no other one follows."""
    for step in protocol.steps:
        loop = protocol.common_loop(clip, step)
        if not concerns(protocol, clip, step) or not protocol.leads(step, clip, loop, protocol.backwards):
            continue
        if any(protocol.leads(clip, other, loop) for other in protocol.steps):
            continue
        if any(protocol.leads(backward, clip, loop, protocol.steps) for backward in protocol.backwards):
            continue
        fed = any(protocol.leads(backward, step, loop) for backward in protocol.backwards)
        alone = not any(
            protocol.leads(other, step, loop) and concerns(protocol, other, step) for other in protocol.clips
        )
        if fed and alone:
            return made(clip, "after", step, (applied(step),))
    return None


def every_micro_batch(protocol: Protocol, conditions: Conditions, clip: Op) -> MisplacedClip | None:
    """Clipped with every backward where the step applies the sum of several."""
    for step in protocol.steps:
        if not concerns(protocol, clip, step):
            continue
        for backward in protocol.backwards:
            loop = protocol.common_loop(backward, step)
            inner = backward.what.loops[-1] if backward.what.loops else None
            if inner == loop:
                counted = conditions.counted(step, loop) or bool(accumulates(protocol, clip))
                counted = counted or (loop is None and is_put_off(protocol, conditions, clip, backward, step))
                several = protocol.feeds(backward, step, loop) and counted
            else:
                several = inner is not None and protocol.feeds(backward, step, loop) and runs_through(protocol, inner)
            if several and clips_each(protocol, conditions, clip, backward, step, inner):
                because = ((backward.what.span, "gradients are added up here"), applied(step))
                return made(clip, "micro-batch", step, because, accumulates(protocol, clip))
    return None


def is_put_off(protocol: Protocol, conditions: Conditions, clip: Op, backward: Op, step: Op) -> bool:
    """Whether callers say by a flag whether there is a step after a pass; only a step may clear what is added up."""
    flag = conditions.asked(step)
    if not flag or flag in (conditions.asked(clip), conditions.asked(backward)):
        return False
    return all(conditions.asked(op) == flag for op in protocol.ops if isinstance(op.what, Clear))


def clips_each(protocol: Protocol, conditions: Conditions, clip: Op, backward: Op, step: Op, inner: int | None) -> bool:
    """Whether ``clip`` runs in the iterations without a step as well, on what those before have left."""
    if inner is not None and inner not in clip.what.loops:
        return False
    if not protocol.leads(backward, clip, inner) or conditions.is_inside(clip, inner):
        return False
    if accumulates(protocol, clip):
        return not is_synchronised(protocol, clip, inner)
    inside = [op for op in protocol.ops if inner is None or inner in op.what.loops]
    cleared = [op for op in inside if isinstance(op.what, Clear) and op.what.span != step.what.span]
    if any(not conditions.is_inside(op, inner) and not protocol.ends(backward, inner, [op]) for op in cleared):
        return False
    between = (op for op in inside if protocol.leads(backward, op, inner) and protocol.leads(op, clip, inner))
    if any(is_used_elsewhere(protocol, op, step, inner) and not is_argument(op, clip) for op in between):
        return False
    return protocol.ends(clip, inner, protocol.steps) and protocol.ends(backward, inner, protocol.steps)


def is_argument(op: Op, clip: Op) -> bool:
    """Whether something happens inside of the call that clips."""
    return ir.is_within(op.what.span, clip.what.span)


def accumulates(protocol: Protocol, op: Op) -> str:
    """The accelerator of a ``with accelerator.accumulate(model):`` around something; empty if there is none."""
    labels = protocol.run.labels
    regions = set(protocol.graph.blocks[op.block].regions)
    for block in protocol.graph.blocks if regions else ():
        for event in block.events:
            if isinstance(event, ir.Enter) and event.region in regions and event.context >= 0:
                label = labels[event.context]
                if label.endswith(ACCUMULATE):
                    return label.removesuffix(ACCUMULATE)
    return ""


def is_synchronised(protocol: Protocol, op: Op, loop: int | None) -> bool:
    """Whether something runs only where ``accelerator.sync_gradients`` says so."""
    labels = protocol.run.labels
    for block in protocol.graph.blocks:
        first = block.events[0] if block.events else None
        asked = isinstance(first, ir.Assume) and first.truth and first.cond >= 0
        if asked and isinstance(first, ir.Assume) and labels[first.cond].endswith(SYNCHRONISED):
            inside = loop is None or loop in block.loops
            if inside and protocol.passes(block.index, op, loop):
                return True
    return False


# -- of what -----------------------------------------------------------------------------------------------


def of_other_model(protocol: Protocol, clip: Op) -> MisplacedClip | None:
    """Clipped are parameters that no optimizer in sight has, between a backward and its step."""
    assert isinstance(clip.what, Clip)
    program, holders = protocol.program, {holder_of(atom) for atom in clip.what.subject.atoms}
    known = frozenset(holder for holder in holders if holder is not None)
    if not known or None in holders:
        return None
    owned = [program.owners.get(atom) or frozenset() for atom in program.owners.keys() | protocol.stepped]
    reached = frozenset(atom for backward in protocol.backwards for atom in protocol.modules(backward))
    if not reached or not all(owned) or not all(ownership.apart(program, some, known) for some in (*owned, reached)):
        return None
    for step in protocol.steps:
        loop = protocol.common_loop(clip, step)
        fed = any(protocol.leads(backward, clip, loop) for backward in protocol.backwards)
        if fed and protocol.leads(clip, step, loop):
            return made(clip, "other", step, (applied(step),))
    return None


def holder_of(atom: Atom) -> Atom | None:
    """The module that has what is clipped."""
    return atom.owner if isinstance(atom, Obj) and atom.type == PARAMETER else None


def refused(clip: Clip) -> MisplacedClip:
    """The fact about a call that torch refuses."""
    return MisplacedClip(clip.span, "refused", clip.call, "", clip.refused, ())


def applied(step: Op) -> tuple[Span, str]:
    """Where a step is made."""
    return step.what.span, "applied here"


def made(clip: Op, form: str, step: Op, because: Reasons, detail: str = "") -> MisplacedClip:
    """The fact about one call."""
    assert isinstance(clip.what, Clip)
    assert isinstance(step.what, Step)
    return MisplacedClip(clip.what.span, form, clip.what.call, step.what.call, detail, because)
