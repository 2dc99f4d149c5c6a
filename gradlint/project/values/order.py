"""In which order the events of a body may run."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.ir.paths import dominators_of

if TYPE_CHECKING:
    from gradlint.project.values.definitions import Definitions


class Order:
    """The order of the events of one body: which come first on every path, and which paths lead from one to another."""

    def __init__(self, known: Definitions) -> None:
        self.known = known
        self.blocks = known.body.graph.blocks
        self._position: dict[ir.Event, int] = {}
        for block in self.blocks:
            self._position.update((event, index) for index, event in enumerate(block.events))
        self._dominators: dict[int, set[int]] = {}

    def at(self, event: ir.Event) -> tuple[int, int]:
        """The block of an event and its position there."""
        return self.known.blocks[event].index, self._position[event]

    def precedes(self, one: ir.Event, other: ir.Event) -> bool:
        """Whether every path to ``other`` has run ``one``."""
        (block, index), (target, position) = self.at(one), self.at(other)
        if block == target:
            return index < position
        return block in self._before(target)

    def leads(self, one: ir.Event | None, other: ir.Event, avoiding: Collection[ir.Event] = ()) -> bool:
        """Whether a path leads from ``one``, or the entry, to ``other`` that runs none of ``avoiding`` in between."""
        (start, index), (target, position) = self.at(one) if one is not None else (0, -1), self.at(other)
        stops: dict[int, list[int]] = {}
        for event in avoiding:
            block, at = self.at(event)
            stops.setdefault(block, []).append(at)
        if start == target and index < position and not any(index < at < position for at in stops.get(start, ())):
            return True
        if any(at > index for at in stops.get(start, ())):
            return False
        pending, seen = list(self.blocks[start].successors), set[int]()
        while pending:
            block = pending.pop()
            if block in seen:
                continue
            seen.add(block)
            if block == target and not any(at < position for at in stops.get(block, ())):
                return True
            if block not in stops:
                pending.extend(self.blocks[block].successors)
        return False

    def ends(self, one: ir.Event, avoiding: Collection[ir.Event]) -> bool:
        """Whether the body may return after ``one`` without having run one of ``avoiding``."""
        start, index = self.at(one)
        stops = {self.at(event) for event in avoiding}
        if any(block == start and at > index for block, at in stops):
            return False
        stopped = {block for block, _ in stops}
        pending, seen = list(self.blocks[start].successors), set[int]()
        while pending:
            block = pending.pop()
            if block == self.known.body.graph.exit:
                return True
            if block not in seen and block not in stopped:
                seen.add(block)
                pending.extend(self.blocks[block].successors)
        return False

    def _before(self, target: int) -> set[int]:
        """The blocks on every path from the entry to ``target``, itself included."""
        if target not in self._dominators:
            self._dominators[target] = dominators_of(self.known.body.graph, target)
        return self._dominators[target]
