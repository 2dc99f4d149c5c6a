"""Accumulations that add up what should be averaged: nothing divides the loss of a micro-batch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import RESULT, Atom, Fn, Obj, Value
from gradlint.facts import Backward, Clear, Forward, Touch
from gradlint.facts.protocol import Summed
from gradlint.ir import events as ir
from gradlint.project.protocol.protocol import Op, Protocol
from gradlint.project.protocol.wiped import is_used_elsewhere, runs_through
from gradlint.project.values.conditions import Conditions
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body

ACCUMULATES = re.compile(r"accum|micro_?(?:batch|step)|(?:^|[._])iter_size$|sub_?batch|virtual_batch", re.IGNORECASE)
"""Names of how many micro-batches make one step."""
PIECES = frozenset("split chunk tensor_split".split())
"""Methods that take a batch apart."""
DIVIDES = frozenset({"/", "*", "//"})
RESCALES = frozenset("div div_ mul mul_ true_divide multiply sum nansum logsumexp".split())
"""Operations that may make a mean of a sum, or tell that a sum is meant."""


def summed(protocol: Protocol) -> Iterator[Summed]:
    """Yield the backward passes whose losses are added up as they are, each once, in source order."""
    found = {fact.span: fact for fact in of_pieces(protocol)}
    conditions = Conditions(protocol)
    for backward in protocol.backwards if protocol.is_training else ():
        assert isinstance(backward.what, Backward)
        if backward.what.how != "backward" or backward.what.through or backward.what.inputs:
            continue
        for step in protocol.steps:
            number = micro_batches(protocol, conditions, backward, step)
            if number and not is_averaged(protocol, backward, step):
                because = ((step.what.span, f"applied here, once per `{number}`"),)
                name = backward.what.target.name
                fact = Summed(backward.what.span, backward.what.call, name, number, because)
                found.setdefault(fact.span, fact)
    yield from sorted(found.values(), key=lambda fact: fact.span)


def of_pieces(protocol: Protocol) -> Iterator[Summed]:
    """Yield the passes back from the means of the pieces of one batch: ``for part in x.split(8)``."""
    for backward in protocol.backwards:
        assert isinstance(backward.what, Backward)
        loop = backward.what.loops[-1] if backward.what.loops else None
        plain = backward.what.how == "backward" and not backward.what.through and not backward.what.inputs
        pieces = pieces_of(protocol, loop) if loop is not None and plain else None
        if loop is None or pieces is None or not is_mean(protocol, backward):
            continue
        inside = [op for op in protocol.ops if loop in op.what.loops and op is not backward]
        scaled = any(
            is_rescaling(event, protocol) or divides_gradient(event, protocol) for event in protocol.graph.events()
        )
        if not inside and not scaled and runs_through(protocol, loop) and not sums(protocol.program.module):
            span, call = backward.what.span, backward.what.call
            label = protocol.run.labels[pieces.dst] or "pieces"
            yield Summed(span, call, backward.what.target.name, f"len({label})", ((pieces.span, "taken apart here"),))


def pieces_of(protocol: Protocol, loop: int) -> ir.Call | None:
    """The call that takes a batch apart, if a loop runs over its result."""
    made = Conditions(protocol).made
    for event in protocol.graph.events():
        if isinstance(event, ir.Iterate) and event.dst == protocol.graph.loops[loop].iterator:
            call = made.get(event.src)
            label = protocol.run.labels[call.func] if isinstance(call, ir.Call) and call.func >= 0 else ""
            return call if isinstance(call, ir.Call) and label.rpartition(".")[2] in PIECES and call.args else None
    return None


def is_mean(protocol: Protocol, backward: Op) -> bool:
    """Whether a pass starts at the mean of something, as it is."""
    assert isinstance(backward.what, Backward)
    events = [atom.event if isinstance(atom, Obj) else None for atom in backward.what.target.atoms]
    means = (
        isinstance(event, ir.Call) and event.func >= 0 and protocol.run.labels[event.func].rpartition(".")[2] == "mean"
        for event in events
    )
    return bool(events) and all(means)


def divides_gradient(event: ir.Event, protocol: Protocol) -> bool:
    """Whether a gradient is divided or multiplied by hand."""
    if isinstance(event, (ir.Binary, ir.Augment)) and event.op in DIVIDES:
        refs = (event.left, event.right) if isinstance(event, ir.Binary) else (event.target, event.value)
        return any("grad" in protocol.run.labels[ref] for ref in refs if ref >= 0)
    label = protocol.run.labels[event.func] if isinstance(event, ir.Call) and event.func >= 0 else ""
    return "grad" in label and label.rpartition(".")[2] in RESCALES


# -- how many ----------------------------------------------------------------------------------------------


def micro_batches(protocol: Protocol, conditions: Conditions, backward: Op, step: Op) -> str:
    """How the source calls the number of passes whose sum a step applies; empty if it says no such number."""
    loop = protocol.common_loop(backward, step)
    inner = backward.what.loops[-1] if backward.what.loops else None
    if inner is None or not protocol.feeds(backward, step, loop) or not protocol.ends(backward, inner, protocol.steps):
        return ""
    inside = [op for op in protocol.ops if inner in op.what.loops]
    if any(isinstance(op.what, Clear) and not conditions.is_inside(op, inner) for op in inside):
        return ""
    if inner != loop:
        return looped(protocol, inner) if runs_through(protocol, inner) else ""
    return divisor(protocol, conditions, step, loop) if conditions.counted(step, loop) else ""


def looped(protocol: Protocol, loop: int) -> str:
    """The number in ``for _ in range(number)``, if it is called like one of micro-batches."""
    made = Conditions(protocol).made
    for event in protocol.graph.events():
        if isinstance(event, ir.Iterate) and event.dst == protocol.graph.loops[loop].iterator:
            call = made.get(event.src)
            if isinstance(call, ir.Call) and protocol.run.labels[call.func] in ("range", "trange", "tqdm.trange"):
                label = protocol.run.labels[call.args[-1]] if call.args else ""
                return label if ACCUMULATES.search(label) else ""
    return ""


def divisor(protocol: Protocol, conditions: Conditions, step: Op, loop: int | None) -> str:
    """The number in ``if (i + 1) % number == 0:`` in front of a step, if it is called like one of micro-batches."""
    for index in (protocol.start(loop), *sorted(protocol.region(loop))):
        if not protocol.passes(index, step, loop):
            continue
        for event in protocol.graph.blocks[index].events:
            if isinstance(event, ir.Binary) and event.op == "%":
                label = protocol.run.labels[event.right] if event.right >= 0 else ""
                if ACCUMULATES.search(label):
                    return label
    return ""


# -- what is done to it ------------------------------------------------------------------------------------


def is_averaged(protocol: Protocol, backward: Op, step: Op) -> bool:
    """Whether something may make a mean of the sum: a division, code out of sight, or an edit of the gradients."""
    assert isinstance(backward.what, Backward)
    if not backward.what.target.atoms or any(
        is_used_elsewhere(protocol, op, step, None) or touches(op) for op in protocol.ops
    ):
        return True
    if any(rescales(protocol, atom) for atom in behind_losses(protocol, backward.what.target.atoms)):
        return True
    return any(is_rescaling(event, protocol) for event in protocol.graph.events()) or sums(protocol.program.module)


def behind_losses(protocol: Protocol, target: Value) -> set[Atom]:
    """What a loss was computed from, back to the results of modules and of losses."""
    results = {atom for forward in protocol.run.recorder.all(Forward) for atom in forward.result.atoms}
    pending, seen = list(target), set(target)
    while pending:
        atom = pending.pop()
        if atom in results or is_loss(protocol, atom):
            continue
        fresh = protocol.run.origins.get(atom, set()) - seen
        seen |= fresh
        pending.extend(fresh)
    return seen


def is_loss(protocol: Protocol, atom: Atom) -> bool:
    """Whether a value is what a function returned that is called a loss, and that is no code of the file."""
    event = atom.event if isinstance(atom, Obj) else None
    if not isinstance(event, ir.Call) or not any(event is other for other in protocol.graph.events()) or event.func < 0:
        return False
    known = any(isinstance(callee, Fn) for callee in protocol.run.temps[event.func])
    return not known and roles.LOSS.search(protocol.run.labels[event.func]) is not None


def touches(op: Op) -> bool:
    """Whether something reads or writes gradients by hand."""
    return isinstance(op.what, Touch) and not op.what.through


def rescales(protocol: Protocol, atom: Atom) -> bool:
    """Whether what made a value may have divided it, or has summed it on purpose."""
    if not isinstance(atom, Obj):
        return False
    event = atom.event
    if isinstance(event, (ir.Binary, ir.Augment)):
        return event.op in DIVIDES
    if not isinstance(event, ir.Call) or event.func < 0:
        return False
    if not any(event is other for other in protocol.graph.events()):
        return True
    if any(isinstance(callee, Fn) for callee in protocol.run.temps[event.func]):
        return True
    label = protocol.run.labels[event.func]
    name = label.rpartition(".")[2]
    if name in RESCALES:
        return True
    is_call = atom.type == RESULT
    return is_call and roles.LOSS.search(label) is None and not roles.is_module(label) and name not in ("mean", "item")


def is_rescaling(event: ir.Event, protocol: Protocol) -> bool:
    """Whether an event divides something by a number of micro-batches: the rate of learning, say."""
    if not isinstance(event, (ir.Binary, ir.Augment)) or event.op not in DIVIDES:
        return False
    refs = (event.left, event.right) if isinstance(event, ir.Binary) else (event.target, event.value)
    labels = [protocol.run.labels[ref] for ref in refs if ref >= 0]
    return any(ACCUMULATES.search(label) or roles.LOSS.search(label) for label in labels)


def sums(module: Body) -> bool:
    """Whether something in the file says that losses are sums: ``reduction="sum"``, ``size_average=False``."""
    for body in module.inside():
        constants: dict[int, object] = {}
        for event in body.graph.events():
            if isinstance(event, ir.Const):
                constants[event.dst] = event.value
            elif isinstance(event, ir.Call):
                for name, ref in event.keywords:
                    if (name, constants.get(ref)) in (("reduction", "sum"), ("size_average", False)):
                        return True
    return False
