"""Loops that retain a graph from before them, and change the parameters that it was recorded with.

`retain_graph=True` takes one error away, that the graph was freed. In the second iteration comes the next: the step of
the first one has edited what the graph has saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.facts.edits import LateBackward
from gradlint.ir import events as ir
from gradlint.project.edits.late_backwards import is_layer, is_owned, is_reached
from gradlint.project.lifetime.walked import start_of
from gradlint.project.values import demands
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.own_leaves import is_true

if TYPE_CHECKING:
    from gradlint.facts import Backward, Forward, Step
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def stale_loops(
    program: Program,
    tracer: Tracer,
    run: Run,
    forwards: list[Forward],
    steps: list[Step],
    backwards: list[Backward],
) -> Iterator[LateBackward]:
    """The backward passes that go through a graph from before their loop, one for each."""
    retained = [one for one in backwards if one.loops and not one.through and one.how != "grad"]
    if not retained or not steps or not forwards:
        return
    loops = Loops(program, tracer, run)
    told = set[ir.Span]()
    for backward in retained:
        inside = [step for step in steps if step.loops == backward.loops and not step.closure]
        if backward.span in told or not inside or not loops.retains(backward):
            continue
        found = loops.stale(backward, inside, forwards)
        if found is not None:
            told.add(backward.span)
            yield found


class Loops:
    """The loops of one body."""

    def __init__(self, program: Program, tracer: Tracer, run: Run) -> None:
        self.program, self.run = program, run
        self.known = tracer.definitions(run.body)
        self.lineage = Lineage(tracer, run)

    def retains(self, backward: Backward) -> bool:
        """Whether a pass keeps the graph for certain."""
        call = self.known.calls.get(backward.span)
        given = dict(call.keywords).get("retain_graph", ir.OPAQUE_REF) if call is not None else ir.OPAQUE_REF
        return is_true(self.known, given)

    def stale(self, backward: Backward, steps: list[Step], forwards: list[Forward]) -> LateBackward | None:
        """A forward before the loop that the pass surely goes through, of a module that a step in the loop changes."""
        loop = backward.loops[-1]
        outer = [one for one in forwards if loop not in one.loops and one.result.attached and not is_layer(one)]
        for step in steps if outer else ():
            if not is_reached(self.known, step, backward):
                continue
            for forward in outer:
                if is_owned(self.program, step, forward) and self._goes_through(backward, forward, loop):
                    name, fused = step.variable or step.optimizer.name, step.optimizer.atoms <= self.program.fused
                    module = forward.module.name
                    return LateBackward(backward.span, backward.call, forward.span, module, step.span, name, fused)
        return None

    def _goes_through(self, backward: Backward, forward: Forward, loop: int) -> bool:
        """Whether what a pass starts from is surely computed from a result of before the loop, or what that fills."""
        target = start_of(self.known, backward)
        for event in self.lineage.of(target) if target is not None else ():
            ref = getattr(event, "dst", None)
            if ref is None or loop in self.known.loops(event):
                continue
            atoms = self.run.temps[ref]
            if event.span == forward.span or (atoms and forward.result.atoms <= demands.ancestors(self.run, atoms)):
                return True
        return False
