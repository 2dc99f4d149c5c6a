"""The grad modes in force at single events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.ir.cfg import Block, Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


class InForce:
    """The modes in which the events of one file run, over all runs of their bodies."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._runs: dict[Body, list[Run]] = {}
        self._indexed = 0

    def at(self, body: Body, block: Block, event: ir.Event) -> int:
        """The modes that may be in force at an event of ``block``; 0 if ``body`` was not solved."""
        position = next(i for i, other in enumerate(block.events) if other is event)
        found = 0
        for run in self._runs_of(body):
            found |= run.recorder.modes_at(block.index, position)
        return found

    def _runs_of(self, body: Body) -> list[Run]:
        if len(self.program.runs) != self._indexed:
            self._runs = {}
            for (solved, _), run in self.program.runs.items():
                if run is not None:
                    self._runs.setdefault(solved, []).append(run)
            self._indexed = len(self.program.runs)
        return self._runs.get(body, [])
