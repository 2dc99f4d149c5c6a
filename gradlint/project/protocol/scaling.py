"""Gradient scalers: whether what they scale is what they step, and at its own scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Fn, Obj
from gradlint.facts import Backward, Reasons, Step
from gradlint.facts.protocol import Clip, ScalerMisuse, Scaling
from gradlint.ir import events as ir
from gradlint.project.protocol.protocol import Op, Protocol
from gradlint.project.values import demands
from gradlint.project.values.definitions import Definitions
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.facts import Operand
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program

READS = frozenset({"get_scale", "_scale", "unscale_grads", "inv_scale", "_unscale_grads_"})
"""Attributes of a scaler by which code undoes the scale itself."""


def misused(protocol: Protocol) -> Iterator[ScalerMisuse]:
    """Yield what is wrong with the scalers of one body, in source order."""
    if not protocol.scalings:
        return
    found: dict[Span, ScalerMisuse] = {}
    for fact in (*dropped(protocol), *clipped(protocol), *plain(protocol), *not_updated(protocol)):
        found.setdefault(fact.span, fact)
    yield from sorted(found.values(), key=lambda fact: fact.span)


def of(protocol: Protocol, kind: str) -> list[Op]:
    """The uses of scalers by one method."""
    return [op for op in protocol.scalings if isinstance(op.what, Scaling) and op.what.kind == kind]


def scaled_backwards(protocol: Protocol) -> list[tuple[Op, Op]]:
    """The backward passes that start from a scaled loss, each with the call that scales it."""
    found = []
    for backward in protocol.backwards:
        for scale in of(protocol, "scale"):
            loop = protocol.common_loop(scale, backward)
            if is_dropped(protocol, scale) or not is_of(protocol, backward, scale):
                continue
            if protocol.leads(scale, backward, loop, protocol.backwards):
                found.append((backward, scale))
                break
    return found


def is_of(protocol: Protocol, backward: Op, scale: Op) -> bool:
    """Whether a backward pass starts from what was scaled."""
    assert isinstance(backward.what, Backward)
    assert isinstance(scale.what, Scaling)
    if backward.what.through or scale.what.through:
        return backward.what.through == scale.what.through
    reached = demands.ancestors(protocol.run, backward.what.target.atoms)
    if any(isinstance(atom, Obj) and atom.span == scale.what.span for atom in reached):
        return True
    known = protocol.known
    call = known.calls.get(backward.what.span)
    method = known.makers.get(call.func) if call is not None else None
    if not isinstance(method, ir.Attr):
        return False
    behind = known.behind(method.obj, lambda event: known.sources(event) if isinstance(event, ir.Load) else ())
    return any(event.span == scale.what.span for event in behind)


def is_scaled(protocol: Protocol, step: Op) -> bool:
    """Whether a step is made by a scaler."""
    return any(op.what.span == step.what.span and op.what.origin == step.what.origin for op in of(protocol, "step"))


def is_by_scaler(step: Op) -> bool:
    """Whether a step is made by something called a scaler, wherever that is: `self.scaler.step(optimizer)`."""
    assert isinstance(step.what, Step)
    return "scale" in step.what.call.partition(".step(")[0].lower()


# -- what is wrong -----------------------------------------------------------------------------------------


def clipped(protocol: Protocol) -> Iterator[ScalerMisuse]:
    """Yield the calls that clip scaled gradients: no `unscale_` runs before, on any path."""
    steps = [step for step in protocol.steps if is_scaled(protocol, step)]
    if not of(protocol, "step") or undoes_it_by_hand(protocol.program):
        return
    for clip in protocol.clips:
        assert isinstance(clip.what, Clip)
        if clip.what.unscales or clip.what.measures or clip.what.refused:
            continue
        if not protocol.backwards:
            yield from clipped_elsewhere(protocol, clip)
        for backward, scale in scaled_backwards(protocol):
            step = next((step for step in steps if protocol.leads(clip, step, protocol.common_loop(clip, step))), None)
            loop = protocol.common_loop(backward, clip)
            if step is None or one_call(clip, step) or not protocol.leads(backward, clip, loop):
                continue
            if not any(use.what.span == step.what.span and of_one_scaler(scale, use) for use in of(protocol, "step")):
                continue
            assert isinstance(scale.what, Scaling)
            elsewhere = is_passed_on(protocol, scale.what)
            undone = (op for op in of(protocol, "unscale_") if not is_for_another(protocol, op, step))
            if not elsewhere and not any(protocol.leads(op, clip, None) for op in undone):
                because = (
                    (backward.what.span, "the gradients are scaled here"),
                    (step.what.span, "unscaled only here"),
                )
                yield made(clip, "clip", scale, step, because)
                break


def is_for_another(protocol: Protocol, unscaling: Op, step: Op) -> bool:
    """Whether an `unscale_` is of the scaler and the optimizer of another step than this one."""
    matching = [use.what.span for use in of(protocol, "step") if are_same(unscaling, use)]
    return bool(matching) and step.what.span not in matching


def are_same(one: Op, other: Op) -> bool:
    """Whether two uses may be of the same scaler, and of the same optimizer."""
    assert isinstance(one.what, Scaling)
    assert isinstance(other.what, Scaling)
    return of_one_scaler(one, other) and may_be(one.what.subject, other.what.subject)


def of_one_scaler(one: Op, other: Op) -> bool:
    """Whether two uses may be of the same scaler."""
    assert isinstance(one.what, Scaling)
    assert isinstance(other.what, Scaling)
    return may_be(one.what.scaler, other.what.scaler)


def may_be(one: Operand, other: Operand) -> bool:
    """Whether two things may be the same: they are, or are called the same."""
    return bool(one.atoms & other.atoms) or one.name == other.name


def clipped_elsewhere(protocol: Protocol, clip: Op) -> Iterator[ScalerMisuse]:
    """Yield a clip between a backward in another function and the step of a scaler, if nothing in the file unscales."""
    program = protocol.program
    if is_used(program, ("unscale_",)) or not is_used(program, ("scale",)):
        return
    for use in of(protocol, "step"):
        assert isinstance(use.what, Scaling)
        apart = not one_call(clip, use) and not clip.what.through and not use.what.through
        if apart and protocol.leads(clip, use, protocol.common_loop(clip, use)):
            if not is_passed_on(protocol, use.what):
                yield made(clip, "clip", use, None, ((use.what.span, "unscaled only here"),))
            return


def one_call(*ops: Op) -> bool:
    """Whether one call of a function does it all: then what is wrong there is said there."""
    return len({op.what.span for op in ops}) == 1


def plain(protocol: Protocol) -> Iterator[ScalerMisuse]:
    """Yield the steps that apply scaled gradients without the scaler."""
    if is_used(protocol.program, ("step", "unscale_")) or undoes_it_by_hand(protocol.program):
        return
    for step in (one for one in protocol.steps if not is_by_scaler(one)):
        for backward, scale in scaled_backwards(protocol):
            if one_call(step, backward) or not protocol.feeds(backward, step, protocol.common_loop(backward, step)):
                continue
            yield made(step, "plain", scale, step, ((backward.what.span, "the gradients are scaled here"),))
            break


def dropped(protocol: Protocol) -> Iterator[ScalerMisuse]:
    """Yield the calls of `scale` whose result nothing uses."""
    for scale in of(protocol, "scale"):
        following = [op for op in protocol.backwards if protocol.leads(scale, op, protocol.common_loop(scale, op))]
        if following and is_dropped(protocol, scale):
            yield made(scale, "dropped", scale, None, ((following[0].what.span, "goes backward from the loss itself"),))


def is_dropped(protocol: Protocol, scale: Op) -> bool:
    """Whether the scaled loss is an expression statement."""
    return not scale.what.origin and scale.what.span in protocol.run.discarded


def not_updated(protocol: Protocol) -> Iterator[ScalerMisuse]:
    """Yield the steps of a scaler made in sight that nothing in the file ever updates."""
    if is_used(protocol.program, ("update",)):
        return
    for step in of(protocol, "step"):
        assert isinstance(step.what, Scaling)
        known = all(isinstance(atom, Obj) and "." in atom.type for atom in step.what.scaler.atoms)
        if step.what.loops and known and not step.what.through and not is_passed_on(protocol, step.what):
            scale = next(iter(of(protocol, "scale")), step)
            yield made(step, "update", scale, None, ())


# -- what the file says ------------------------------------------------------------------------------------


def is_passed_on(protocol: Protocol, use: Scaling) -> bool:
    """Whether a scaler is given to code out of sight, which may unscale or update."""
    run = protocol.run
    for event in protocol.graph.events():
        if isinstance(event, ir.Call) and not is_in_sight(protocol, event) and not is_bookkeeping(protocol, event):
            refs = (*event.args, *(ref for _, ref in event.keywords))
            if any(ref >= 0 and run.temps[ref] & use.scaler.atoms for ref in refs):
                return True
    return False


def is_bookkeeping(protocol: Protocol, call: ir.Call) -> bool:
    """Whether what is called saves, loads or shows what it is given, by its name."""
    name = protocol.run.labels[call.func].rpartition(".")[2] if call.func >= 0 else ""
    return roles.KEEPS_GRADIENTS.search(name) is not None


def is_in_sight(protocol: Protocol, call: ir.Call) -> bool:
    """Whether what is called is code of this file."""
    callees = protocol.run.temps[call.func] if call.func >= 0 else frozenset()
    stubs = protocol.program.stubs
    return bool(callees) and all(isinstance(atom, Fn) and not stubs.is_stub(atom.body) for atom in callees)


def undoes_it_by_hand(program: Program) -> bool:
    """Whether something in the file asks a scaler for its scale, and does more than to compare it with another."""
    bodies = program.module.inside()
    return any(not is_only_compared(Definitions(body), one) for body in bodies for one in reads(body, tuple(READS)))


def is_only_compared(known: Definitions, asked: ir.Attr) -> bool:
    """Whether a scale is asked for to see whether it has changed: by that a skipped step is known."""
    pending, seen = [asked.dst], set[ir.Ref]()
    while pending:
        ref = pending.pop()
        seen.add(ref)
        for reader in known.readers.get(ref, ()):
            if isinstance(reader, ir.Call) and reader.func == asked.dst:
                further = [reader.dst]
            elif isinstance(reader, ir.Store):
                further = [load.dst for load in known.loads.get(reader, ())]
            elif isinstance(reader, ir.Compare):
                further = []
            else:
                return False
            pending += [one for one in further if one not in seen]
    return True


def is_used(program: Program, names: tuple[str, ...]) -> bool:
    """Whether something called a scaler has one of ``names`` read, anywhere in the file."""
    return any(True for body in program.module.inside() for _ in reads(body, names))


def reads(body: Body, names: tuple[str, ...]) -> Iterator[ir.Attr]:
    """Where a body reads one of ``names`` of something that is called a scaler."""
    loads: dict[int, str] = {}
    for event in body.graph.events():
        if isinstance(event, (ir.Load, ir.Attr)):
            if isinstance(event, ir.Attr) and event.name in names and "scale" in loads.get(event.obj, "").lower():
                yield event
            loads[event.dst] = event.name
        elif isinstance(event, ir.Item):
            loads[event.dst] = loads.get(event.obj, "")


def made(at: Op, form: str, scale: Op, step: Op | None, because: Reasons) -> ScalerMisuse:
    """The fact about one call."""
    assert isinstance(at.what, (Clip, Scaling, Step))
    assert isinstance(scale.what, Scaling)
    shown = step.what.call if step is not None and isinstance(step.what, Step) else ""
    return ScalerMisuse(at.what.span, form, at.what.call, scale.what.scaler.name or "scaler", shown, because)
