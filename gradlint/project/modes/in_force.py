"""The grad modes in force at single events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.ir.cfg import Block, Body
    from gradlint.project.program import Program


class InForce:
    """The modes in which the events of one file run, over all runs of their bodies."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def at(self, body: Body, block: Block, event: ir.Event) -> int:
        """The modes that may be in force at an event of ``block``; 0 if ``body`` was not solved."""
        position = next(i for i, other in enumerate(block.events) if other is event)
        found = 0
        for run in self.program.runs_of(body):
            found |= run.recorder.modes_at(block.index, position)
        return found
