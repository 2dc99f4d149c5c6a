"""Under which conditions the events of one body run, as far as they stay what they are: flags and settings.

``if args.lora:`` and ``if not args.lora:`` never hold in one run, however far apart they stand. What is compared is how
the source writes a condition; one whose variable or attribute the body assigns again says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, TypeAlias

from gradlint.ir import events as ir
from gradlint.ir.paths import dominators_of
from gradlint.project.lifetime.growing import spelled_ref

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block
    from gradlint.project.values.definitions import Definitions

Condition: TypeAlias = "tuple[object, ...]"

OPPOSITES = {"!=": "==", "is not": "is", "not in": "in", ">=": "<", "<=": ">"}


class Guards:
    """The conditions in one body."""

    def __init__(self, known: Definitions) -> None:
        self.known = known
        self.blocks = known.body.graph.blocks
        self._known: dict[int, dict[Condition, bool]] = {}

    def of(self, event: ir.Event) -> dict[Condition, bool]:
        """The conditions that hold wherever an event runs, each with its truth."""
        block = self.known.blocks[event].index
        if block not in self._known:
            above = sorted(dominators_of(self.known.body.graph, block))
            self._known[block] = {name: truth for one in above for name, truth in self._assumed(self.blocks[one])}
        return self._known[block]

    def exclude(self, one: ir.Event, other: ir.Event) -> bool:
        """Whether no run of the body has both events: a condition of one is the opposite of one of the other."""
        mine, others = self.of(one), self.of(other)
        return any(others.get(name, truth) != truth for name, truth in mine.items())

    def ends(self, one: ir.Event, avoiding: Collection[ir.Event]) -> bool:
        """Whether the body may return after ``one``, under its conditions, without having run one of ``avoiding``."""
        holding = self.of(one)
        start = self.known.blocks[one]
        pending, seen = self._behind(start, one, avoiding), {start.index}
        while pending:
            block = self.blocks[pending.pop()]
            if block.index == self.known.body.graph.exit:
                return True
            denied = any(holding.get(name, truth) != truth for name, truth in self._assumed(block))
            if block.index not in seen and not denied:
                seen.add(block.index)
                pending += self._behind(block, None, avoiding)
        return False

    def _behind(self, block: Block, start: ir.Event | None, avoiding: Collection[ir.Event]) -> list[int]:
        """Where a block leads that is run from behind ``start``, or from its head: also by exceptions of its calls."""
        events = block.events[block.events.index(start) + 1 :] if start is not None else block.events
        stop = next((index for index, event in enumerate(events) if event in avoiding), None)
        raises = any(isinstance(event, ir.Call) for event in events[:stop])
        pads = [block.pad] if raises and block.pad is not None else []
        return pads if stop is not None else [*pads, *block.successors]

    def _assumed(self, block: Block) -> Iterator[tuple[Condition, bool]]:
        """What is known at the head of a block."""
        for event in block.events:
            if not isinstance(event, ir.Assume):
                return
            condition = self._condition(event.cond)
            if condition is not None:
                name, negated = condition
                yield name, event.truth != negated

    def _condition(self, ref: ir.Ref) -> tuple[Condition, bool] | None:
        """How the source writes a condition, and whether the opposite is meant; None if that may change."""
        event = self.known.makers.get(ref)
        if isinstance(event, ir.Unary) and event.op == "not":
            inner = self._condition(event.src)
            return (inner[0], not inner[1]) if inner is not None else None
        if isinstance(event, ir.Compare):
            if not self._stays(event.left) or not self._stays(event.right):
                return None
            op = OPPOSITES.get(event.op, event.op)
            sides = (*spelled_ref(self.known, event.left), op, *spelled_ref(self.known, event.right))
            return sides, op != event.op
        return (spelled_ref(self.known, ref), False) if self._stays(ref) else None

    def _stays(self, ref: ir.Ref) -> bool:
        """Whether a temporary is a constant, or reads a variable or an attribute that the body assigns once at most."""
        event = self.known.makers.get(ref)
        if isinstance(event, ir.Attr):
            written = any(one.name == event.name for one in self.known.events(ir.SetAttr))
            return not written and self._stays(event.obj)
        if isinstance(event, ir.Load):
            return len(self.known.seen[event]) == 1 and len(self.known.stores.get(event.name, ())) <= 1
        return isinstance(event, ir.Const)
