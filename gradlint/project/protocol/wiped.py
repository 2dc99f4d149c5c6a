"""Gradients that are cleared before the step that should apply them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from gradlint.domains.values import Obj
from gradlint.facts import Backward, Clear, Reasons, Step, Touch, Wiped
from gradlint.facts.protocol import Clip, Scaling
from gradlint.flow.solver import solve
from gradlint.project.protocol.protocol import Op, Protocol, is_pass, is_plain, optimizers
from gradlint.project.values.conditions import Conditions
from gradlint.torch_model import closure_optimizers

if TYPE_CHECKING:
    from gradlint.ir.events import Span

Standing: TypeAlias = "Op | None"
"""How gradients stand: filled by a backward, wiped by a clear, or (None) neither."""
VISITS_PER_BLOCK = 20


def wiped(protocol: Protocol) -> Iterator[Wiped]:
    """Yield the calls that clear gradients too early, each once, in source order."""
    if not protocol.is_training:
        return
    found: dict[Span, Wiped] = {}
    conditions = Conditions(protocol)
    for step in protocol.steps:
        forms: dict[str, Iterable[tuple[Op, Op]]] = {
            "between": before_step(protocol, step),
            "micro-batch": every_micro_batch(protocol, conditions, step),
            "closure": outside_closure(protocol, step),
        }
        for form, misplaced in forms.items():
            for clear, backward in misplaced:
                found.setdefault(clear.what.span, made(form, clear, backward, step))
    yield from sorted(found.values(), key=lambda fact: fact.span)


def made(form: str, clear: Op, backward: Op, step: Op) -> Wiped:
    """The fact about one clear."""
    assert isinstance(clear.what, Clear)
    assert isinstance(backward.what, Backward)
    assert isinstance(step.what, Step)
    reasons: Reasons = ((backward.what.span, "computed here"), (step.what.span, "needed here"))
    return Wiped(clear.what.span, form, clear.what.call, step.what.call, reasons)


# -- between backward and step -----------------------------------------------------------------------------


class Standings:
    """How the gradients of one optimizer may stand: a set, joined by union."""

    __slots__ = ("found",)

    def __init__(self, found: frozenset[tuple[Standing, Op | None]]) -> None:
        self.found = found

    def copy(self) -> Standings:
        """An independent copy."""
        return Standings(self.found)

    def join(self, other: Standings) -> bool:
        """Become the union; true if that changed anything."""
        joined = self.found | other.found
        changed = joined != self.found
        self.found = joined
        return changed


UNKNOWN: tuple[Standing, Op | None] = (None, None)


def before_step(protocol: Protocol, step: Op) -> list[tuple[Op, Op]]:
    """The clears, with the backward passes they undo, that stand between the two on every path to ``step``."""
    if not any(isinstance(op.what, Clear) and protocol.clears(op, step) is not False for op in protocol.ops):
        return []

    def transfer(index: int, state: Standings, raised: Callable[[Standings], None]) -> Standings:
        for op in protocol.blocks.get(index, ()):
            state.found = after(protocol, state.found, op, step)
        return state

    blocks = protocol.graph.blocks
    budget = 50 + VISITS_PER_BLOCK * len(blocks)
    solution = solve(blocks, Standings(frozenset((UNKNOWN,))), transfer, budget=budget)
    state = solution.before[step.block] if solution is not None else None
    if state is None:
        return []
    found = state.found
    for op in protocol.blocks[step.block][: step.position]:
        found = after(protocol, found, op, step)
    wipes = [(clear, backward) for clear, backward in found if clear is not None and backward is not None]
    if len(wipes) != len(found) or any(clear.what.span == step.what.span for clear, _ in wipes):
        return []
    return [(clear, backward) for clear, backward in wipes if not skips(protocol, clear, backward, step)]


def skips(protocol: Protocol, clear: Op, backward: Op, step: Op) -> bool:
    """Whether a clear goes with a step of its own, in a branch that leaves the update out: another one applies it."""
    loop = protocol.common_loop(backward, step)
    return any(
        other.what.span != step.what.span
        and protocol.clears(clear, other) is True
        and protocol.leads(backward, other, loop, [clear])
        and not protocol.leads(clear, other, loop)
        for other in protocol.steps
    )


def after(
    protocol: Protocol, found: frozenset[tuple[Standing, Op | None]], op: Op, step: Op
) -> frozenset[tuple[Standing, Op | None]]:
    """How gradients stand behind ``op``: pairs of the clear that wiped them and the backward that filled them."""
    if isinstance(op.what, Backward) and not is_pass(op.what):
        return found
    if isinstance(op.what, Backward) and not is_plain(op):
        return frozenset((UNKNOWN,))
    if isinstance(op.what, Backward):
        return frozenset(((None, op),)) if protocol.fills(op, step) else found
    if isinstance(op.what, Step):
        return frozenset((UNKNOWN,)) if optimizers(op) & optimizers(step) else found
    surely = protocol.clears(op, step)
    if surely is False:
        return found
    result: set[tuple[Standing, Op | None]] = set()
    for clear, backward in found:
        if backward is None:
            result.add(UNKNOWN)
        elif isinstance(op.what, Clear) and (surely or clears_all_of(protocol, op, backward)):
            result.add((clear or op, backward))
        else:
            result.add(UNKNOWN)
    return frozenset(result)


def clears_all_of(protocol: Protocol, clear: Op, backward: Op) -> bool:
    """Whether ``module.zero_grad()`` clears all that ``backward`` filled: it went through this module only."""
    assert isinstance(clear.what, Clear)
    return clear.what.surely and protocol.modules(backward) == set(clear.what.subject.atoms)


# -- every micro-batch -------------------------------------------------------------------------------------


def every_micro_batch(protocol: Protocol, conditions: Conditions, step: Op) -> Iterator[tuple[Op, Op]]:
    """The clears that run with every backward where the step applies the sum of several."""
    for backward in protocol.backwards:
        loop = protocol.common_loop(backward, step)
        inner = backward.what.loops[-1] if backward.what.loops else None
        if inner == loop:
            several = protocol.feeds(backward, step, loop) and conditions.counted(step, loop)
        else:
            several = inner is not None and protocol.feeds(backward, step, loop) and runs_through(protocol, inner)
        if not several or not protocol.ends(backward, inner, steps_of(protocol, step)):
            continue
        inside = [op for op in protocol.ops if inner is None or inner in op.what.loops]
        if any(is_used_elsewhere(protocol, op, step, inner) for op in inside):
            continue
        for op in inside:
            if isinstance(op.what, Clear) and op.what.span != backward.what.span:
                surely = protocol.clears(op, step) or (
                    protocol.clears(op, step) is None and clears_all_of(protocol, op, backward)
                )
                before = protocol.reached_from_start(backward, inner, [op])
                if surely and not (before and protocol.ends(backward, inner, [op])):
                    yield op, backward


def is_used_elsewhere(protocol: Protocol, op: Op, step: Op, loop: int | None) -> bool:
    """Whether gradients are read or handed on in the iterations without a step, which may be what those are for."""
    if not isinstance(op.what, Touch) or protocol.clears(op, step) is False:
        return False
    steps = steps_of(protocol, step)
    return protocol.reached_from_start(op, loop, steps) and protocol.ends(op, loop, steps)


def steps_of(protocol: Protocol, step: Op) -> list[Op]:
    """All steps of the optimizers of ``step``."""
    return [op for op in protocol.steps if optimizers(op) & optimizers(step)]


def runs_through(protocol: Protocol, loop: int) -> bool:
    """Whether a loop is a ``for`` that nothing leaves early."""
    if protocol.graph.loops[loop].kind != "for":
        return False
    region, head = protocol.region(loop), protocol.start(loop)
    return all(
        successor in region or successor == head
        for index in region
        for successor in protocol.graph.blocks[index].successors
    )


# -- closures ----------------------------------------------------------------------------------------------


def outside_closure(protocol: Protocol, step: Op) -> Iterator[tuple[Op, Op]]:
    """The clears in front of a step that runs its closure, which clears nothing, more than once, or behind it."""
    assert isinstance(step.what, Step)
    repeats = all(isinstance(atom, Obj) and atom.type in closure_optimizers() for atom in optimizers(step))
    if not step.what.closure or not repeats:
        return
    earlier = protocol.blocks[step.block][: step.position]
    fills = [op for op in earlier if not isinstance(op.what, (Clip, Scaling, Backward)) or is_pass(op.what)]
    inside = [op for op in fills if op.what.origin == op.what.span]
    if any(not isinstance(op.what, Backward) for op in inside):
        return
    clears = [op for op in protocol.ops if isinstance(op.what, Clear) and protocol.clears(op, step)]
    before = [op for op in clears if protocol.leads(op, step, protocol.common_loop(op, step))]
    behind = [op for op in clears if protocol.leads(step, op, protocol.common_loop(op, step))]
    for backward in inside[-1:]:
        yield from ((op, backward) for op in before or behind)
