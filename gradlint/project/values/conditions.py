"""What the conditions of branches say about iterations: every so many, or the first only."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains.values import Literal
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.project.protocol.protocol import Op, Protocol


class Conditions:
    """The conditions of one body, traced through its temporaries and variables."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    @cached_property
    def made(self) -> dict[ir.Ref, ir.Event]:
        """The event that makes each temporary."""
        events = self.protocol.graph.events()
        return {dst: event for event in events if (dst := getattr(event, "dst", None)) is not None}

    @cached_property
    def stores(self) -> dict[str, list[tuple[int, ir.Ref]]]:
        """By name, the blocks of the assignments and what they assign."""
        found: dict[str, list[tuple[int, ir.Ref]]] = {}
        for block in self.protocol.graph.blocks:
            for event in block.events:
                if isinstance(event, ir.Store):
                    found.setdefault(event.name, []).append((block.index, event.src))
        return found

    def counted(self, step: Op, loop: int | None) -> bool:
        """Whether ``step`` runs only in every so many iterations: under ``% n``, or when a counter is full."""
        for index in (self.protocol.start(loop), *self.protocol.region(loop)):
            block = self.protocol.graph.blocks[index]
            sides = [self.protocol.graph.blocks[successor].events[:1] for successor in block.successors]
            conditions = {side[0].cond for side in sides if side and isinstance(side[0], ir.Assume)}
            if not any(self.counts(condition, loop) for condition in conditions):
                continue
            if self.protocol.passes(index, step, loop):
                return True
        return False

    def is_inside(self, op: Op, loop: int | None) -> bool:
        """As `counted`, of something that stands behind the condition rather than in front of it."""
        for index in (self.protocol.start(loop), *self.protocol.region(loop)):
            for successor in self.protocol.graph.blocks[index].successors:
                first = self.protocol.graph.blocks[successor].events[:1]
                if not first or not isinstance(first[0], ir.Assume) or not first[0].truth:
                    continue
                heads = (successor, *filter(self.is_either, self.protocol.graph.blocks[successor].successors))
                if self.counts(first[0].cond, loop) and any(self.protocol.passes(head, op, loop) for head in heads):
                    return True
        return False

    def asked(self, op: Op) -> str:
        """The flag, a parameter that is True or False by default, under which ``op`` runs; empty if there is none."""
        protocol = self.protocol
        for block in protocol.graph.blocks:
            first = block.events[0] if block.events else None
            name = self.flag(first.cond, truth=first.truth) if isinstance(first, ir.Assume) else ""
            if name and protocol.passes(block.index, op, None):
                return name
        return ""

    def flag(self, ref: ir.Ref, *, truth: bool) -> str:
        """The name of such a parameter that is true where a condition has this truth; empty if there is none."""
        event = self.made.get(ref)
        if isinstance(event, ir.Unary) and event.op == "not":
            return self.flag(event.src, truth=not truth)
        if not truth or not isinstance(event, ir.Load) or event.name in self.stores:
            return ""
        defaults = self.protocol.program.defaults.get(self.protocol.run.body, {}).get(event.name, frozenset())
        is_flag = bool(defaults) and all(isinstance(one, Literal) and one.value in (True, False) for one in defaults)
        return event.name if is_flag else ""

    def is_either(self, index: int) -> bool:
        """Whether a block begins the suite of a condition with ``or``: each way in is one of the conditions."""
        before = [block for block in self.protocol.graph.blocks if index in block.successors]
        asked = [event for block in before for event in block.events if isinstance(event, ir.Assume)]
        alone = all(len(block.events) == 1 for block in before)
        return alone and len(asked) == len(before) == len({event.cond for event in asked})

    def counts(self, ref: ir.Ref, loop: int | None, depth: int = 0) -> bool:
        """Whether the value of ``ref`` comes from a remainder, or compares a counter that is set back."""
        event = self.made.get(ref)
        if event is None or depth > 8:
            return False
        if isinstance(event, ir.Binary) and event.op == "%":
            return True
        if isinstance(event, ir.Compare) and any(self.is_counter(side) for side in (event.left, event.right)):
            return True
        if isinstance(event, ir.Load):
            return any(self.counts(src, loop, depth + 1) for _, src in self.stores.get(event.name, ()))
        return any(self.counts(part, loop, depth + 1) for part in operands(event))

    def is_counter(self, ref: ir.Ref) -> bool:
        """Whether ``ref`` reads a variable that is counted up and set back to a constant in a loop."""
        event = self.made.get(ref)
        if not isinstance(event, ir.Load):
            return False
        sources = [(index, self.made.get(src)) for index, src in self.stores.get(event.name, ())]
        return any(isinstance(source, ir.Augment) and source.op == "+" for _, source in sources) and any(
            isinstance(source, ir.Const) and self.protocol.graph.blocks[index].loops for index, source in sources
        )

    def only_first(self, op: Op, step: Op, loop: int) -> bool:
        """Whether ``op`` runs in one iteration of the loop only, ``step`` in others as well: ``if i == 0:``."""
        for index in self.protocol.region(loop):
            events = self.protocol.graph.blocks[index].events
            if not events or not isinstance(events[0], ir.Assume) or not events[0].truth:
                continue
            compared = self.made.get(events[0].cond)
            if not isinstance(compared, ir.Compare) or compared.op != "==" or not self.is_index(compared, loop):
                continue
            if self.protocol.passes(index, op, loop) and not self.protocol.passes(index, step, loop):
                return True
        return False

    def is_index(self, compared: ir.Compare, loop: int) -> bool:
        """Whether a comparison is one of a constant with what the loop itself counts."""
        left, right = self.made.get(compared.left), self.made.get(compared.right)
        if not isinstance(left, ir.Load) or not isinstance(right, ir.Const):
            return False
        return bool(self.stores.get(left.name)) and all(
            self.protocol.graph.blocks[index].loops[-1:] == (loop,) and self.is_next(src)
            for index, src in self.stores[left.name]
        )

    def is_next(self, ref: ir.Ref) -> bool:
        """Whether ``ref`` is the next item of a loop, or the first part of it."""
        event = self.made.get(ref)
        if isinstance(event, ir.Unpack):
            return event.index == 0 and self.is_next(event.src)
        return isinstance(event, ir.Next)


def operands(event: ir.Event) -> tuple[ir.Ref, ...]:
    """What a number or a truth value is computed from."""
    if isinstance(event, (ir.Binary, ir.Compare)):
        return (event.left, event.right)
    if isinstance(event, (ir.Unary, ir.Copy)):
        return (event.src,)
    return ()
