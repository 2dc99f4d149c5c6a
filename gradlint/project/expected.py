"""Where a file expects exceptions: what is done there is meant to fail, so that nothing about it is a mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.facts.expectations import Expectation

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program


class Expected:
    """The stretches of one file that are meant to fail."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def covers(self, span: Span) -> bool:
        """Whether ``span`` lies in one of them."""
        return any_covered(self.stretches, [span])

    @cached_property
    def stretches(self) -> tuple[Span, ...]:
        """The blocks, calls and whole functions that are meant to fail, in source order."""
        found: set[Span] = set()
        handed: set[Body] = set()
        for run in filter(None, self.program.runs.values()):
            for asked in run.recorder.all(Expectation):
                found.add(asked.span if asked.region is None else block_of(run.body, asked.region, asked.span))
                handed |= asked.run
        if found:
            found |= {body.span for body in self._run_only_in(found, handed)}
        return tuple(sorted(found))

    def _run_only_in(self, stretches: set[Span], handed: set[Body]) -> Iterator[Body]:
        """The functions inside of others that nobody runs but such blocks and calls."""
        called: dict[Body, bool] = dict.fromkeys(handed, True)
        for run in filter(None, self.program.runs.values()):
            for call in run.recorder.local_calls():
                called[call.fn.body] = any_covered(stretches, [call.span]) and called.get(call.fn.body, True)
        for body, only in called.items():
            if only and body.parent is not None and body.parent.kind == "function":
                yield body


def block_of(body: Body, region: int, entered: Span) -> Span:
    """The stretch from where a with-item is entered to the last that is done in it."""
    spans = [event.span for block in body.graph.blocks if region in block.regions for event in block.events]
    return (*entered[:2], *max((span[2:] for span in spans), default=entered[2:]))


def any_covered(stretches: Collection[Span], spans: Collection[Span]) -> bool:
    """Whether one of ``spans`` lies in one of ``stretches``."""
    return any(stretch[:2] <= span[:2] and span[2:] <= stretch[2:] for stretch in stretches for span in spans)
