"""Who reads what in one body: the readers of each temporary, and the assignments that each read of a variable sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from gradlint.ir import events as ir
from gradlint.ir.cfg import Block, Body

Definition: TypeAlias = "ir.Store | None"
"""An assignment; None stands for the value that a name has when the body is entered."""
E = TypeVar("E", bound=ir.Event)

ENTERED: frozenset[Definition] = frozenset((None,))

INPUTS: dict[type[ir.Event], Callable[[Any], tuple[ir.Ref | None, ...]]] = {
    ir.Copy: lambda e: (e.src,),
    ir.Store: lambda e: (e.src,),
    ir.Attr: lambda e: (e.obj,),
    ir.Item: lambda e: (e.obj, e.key),
    ir.Unary: lambda e: (e.src,),
    ir.Binary: lambda e: (e.left, e.right),
    ir.Compare: lambda e: (e.left, e.right),
    ir.Build: lambda e: (*e.items, *e.keys),
    ir.Unpack: lambda e: (e.src,),
    ir.Augment: lambda e: (e.target, e.value),
    ir.Call: lambda e: (e.func, *e.args, *(ref for _, ref in e.keywords)),
    ir.MakeFunction: lambda e: tuple(ref for _, ref in e.defaults),
    ir.SetAttr: lambda e: (e.obj, e.src),
    ir.SetItem: lambda e: (e.obj, e.key, e.src),
    ir.Discard: lambda e: (e.src,),
    ir.Opaque: lambda e: e.reads,
    ir.Iterate: lambda e: (e.src,),
    ir.Next: lambda e: (e.iterator,),
    ir.Enter: lambda e: (e.context,),
    ir.Assume: lambda e: (e.cond,),
    ir.Yield: lambda e: (e.src,),
    ir.Await: lambda e: (e.src,),
    ir.Return: lambda e: (e.src,),
}
"""The temporaries that an event reads."""


class Definitions:
    """The reads and writes of one body.

    ``readers`` and ``makers`` go by temporary; ``blocks`` tells where each event stands.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        self.readers: dict[ir.Ref, list[ir.Event]] = {}
        self.makers: dict[ir.Ref, ir.Event] = {}
        self.blocks: dict[ir.Event, Block] = {}
        self._seen: dict[ir.Load, frozenset[Definition]] = {}
        self._loads: dict[ir.Store, list[ir.Load]] = {}
        self._entry_loads: dict[str, list[ir.Load]] = {}
        self._loaded: set[str] = set()
        self._solved = False
        self.stores: dict[str, list[ir.Store]] = {}
        self.calls: dict[ir.Span, ir.Call] = {}
        self.attributes: list[ir.Attr] = []
        self.enters: list[ir.Enter] = []
        for block in body.graph.blocks:
            for event in block.events:
                self._enter(block, event)

    @cached_property
    def _by_kind(self) -> dict[type[ir.Event], list[ir.Event]]:
        found: dict[type[ir.Event], list[ir.Event]] = {}
        for event in self.blocks:
            found.setdefault(type(event), []).append(event)
        return found

    def events(self, kind: type[E]) -> list[E]:
        """All events of one kind, block after block."""
        return self._by_kind.get(kind, [])  # type: ignore[return-value]

    def behind(self, ref: ir.Ref, further: Callable[[ir.Event], Iterable[ir.Ref]]) -> Iterator[ir.Event]:
        """What made a temporary, and what made those that ``further`` names of each event: nearest first, each once."""
        pending, found = deque([ref]), set[ir.Event]()
        while pending:
            event = self.makers.get(pending.popleft())
            if event is not None and event not in found:
                found.add(event)
                yield event
                pending.extend(further(event))

    def sources(self, event: ir.Event) -> list[ir.Ref]:
        """The temporaries that the result of an event may be computed from, through every assignment that is seen."""
        if isinstance(event, ir.Load):
            return [store.src for store in self.assigning(event)]
        read = INPUTS.get(type(event))
        return [ref for ref in read(event) if ref is not None] if read is not None else []

    @property
    def seen(self) -> dict[ir.Load, frozenset[Definition]]:
        """The assignments that may have given each read its value; None stands for the entry."""
        self._solve()
        return self._seen

    @property
    def loads(self) -> dict[ir.Store, list[ir.Load]]:
        """The reads that each assignment reaches."""
        self._solve()
        return self._loads

    @property
    def entry_loads(self) -> dict[str, list[ir.Load]]:
        """By name, the reads that may see what the name was when the body was entered."""
        self._solve()
        return self._entry_loads

    def only(self, load: ir.Load) -> ir.Store | None:
        """The one assignment that gave a read its value; None if there are several, or it may be that at the entry."""
        seen = self.seen.get(load, frozenset())
        return next(iter(seen)) if len(seen) == 1 else None

    def assigning(self, load: ir.Load) -> list[ir.Store]:
        """The assignments that may have given a read its value, in source order, whether or not the entry may too."""
        stores = (store for store in self.seen.get(load, ()) if store is not None)
        return sorted(stores, key=lambda store: store.span)

    def entering(self, name: str) -> list[ir.Load]:
        """The reads that may see what ``name`` was when the body was entered."""
        return self.entry_loads.get(name, []) if name in self._loaded else []

    def _enter(self, block: Block, event: ir.Event) -> None:
        self.blocks[event] = block
        kind = type(event)
        if kind in INPUTS:
            for ref in {*INPUTS[kind](event)}:
                if ref is not None and ref >= 0:
                    self.readers.setdefault(ref, []).append(event)
        dst = getattr(event, "dst", None)
        if dst is not None:
            self.makers[dst] = event
        if isinstance(event, ir.Load):
            self._loaded.add(event.name)
        elif isinstance(event, ir.Store):
            self.stores.setdefault(event.name, []).append(event)
        elif isinstance(event, ir.Call):
            self.calls.setdefault(event.span, event)
        elif isinstance(event, ir.Attr):
            self.attributes.append(event)
        elif isinstance(event, ir.Enter):
            self.enters.append(event)

    def _solve(self) -> None:
        """Follow the assignments through the body, when somebody first asks."""
        if self._solved:
            return
        self._solved = True
        blocks = self.body.graph.blocks
        numbers = Numbers(blocks)
        before: list[int | None] = [None] * len(blocks)
        before[0] = numbers.entered
        pending = [0]
        while pending:
            index = pending.pop()
            state = before[index] or 0
            kept, written, raised = numbers.effects[index]
            targets = [(successor, state & kept | written) for successor in blocks[index].successors]
            pad = blocks[index].pad
            if pad is not None:
                targets.append((pad, state | raised))
            for target, arriving in targets:
                known = before[target]
                joined = arriving if known is None else known | arriving
                if joined != known:
                    before[target] = joined
                    pending.append(target)
        for block, known in zip(blocks, before, strict=True):
            self._read(block, numbers, numbers.entered if known is None else known)

    def _read(self, block: Block, numbers: Numbers, state: int) -> None:
        for event in block.events:
            if isinstance(event, ir.Load):
                seen = self._seen[event] = numbers.of(event.name, state)
                for definition in seen:
                    if definition is None:
                        self._entry_loads.setdefault(event.name, []).append(event)
                    else:
                        self._loads.setdefault(definition, []).append(event)
            for name, written in numbers.changes(event):
                state = state & ~numbers.every[name] | written

    def loops(self, event: ir.Event) -> tuple[int, ...]:
        """The loops around an event, outermost first."""
        return self.blocks[event].loops


class Numbers:
    """Sets of the definitions in a body as bits: an integer joins all variables at once.

    ``every`` has by name the bits of all definitions of a variable, ``entered`` those of all values at the entry;
    ``effects`` by block what it keeps and what it writes, and what may be written when an exception leaves it.
    """

    def __init__(self, blocks: list[Block]) -> None:
        self.every: dict[str, int] = {}
        self._known: list[Definition] = []
        self._entry: dict[str, int] = {}
        self._bits: dict[ir.Store, int] = {}
        for block in blocks:
            for event in block.events:
                self._number(event)
        self.entered = sum(self._entry.values())
        self.effects = [self._effects(block) for block in blocks]

    def of(self, name: str, state: int) -> frozenset[Definition]:
        """The definitions of a variable that are in ``state``."""
        found = state & self.every.get(name, 0)
        if not found:
            return ENTERED
        known = set()
        while found:
            lowest = found & -found
            known.add(self._known[lowest.bit_length() - 1])
            found ^= lowest
        return frozenset(known)

    def changes(self, event: ir.Event) -> Iterator[tuple[str, int]]:
        """The variables that an event writes, with the bit of what a read behind it sees."""
        for name in written(event):
            yield name, self._bits[event] if isinstance(event, ir.Store) else self._entry[name]

    def _number(self, event: ir.Event) -> None:
        for name in written(event):
            self._enter(name)
        if isinstance(event, ir.Store):
            self._bits[event] = self._new(event.name, event)

    def _enter(self, name: str) -> None:
        if name not in self._entry:
            self._entry[name] = self._new(name, None)

    def _new(self, name: str, definition: Definition) -> int:
        bit = 1 << len(self._known)
        self._known.append(definition)
        self.every[name] = self.every.get(name, 0) | bit
        return bit

    def _effects(self, block: Block) -> tuple[int, int, int]:
        overwritten = written = raised = 0
        for event in block.events:
            for name, bit in self.changes(event):
                overwritten |= self.every[name]
                written = written & ~self.every[name] | bit
                raised |= bit
        return ~overwritten, written, raised


def written(event: ir.Event) -> Iterable[str]:
    """The variables that an event writes."""
    if isinstance(event, ir.Store):
        return (event.name,)
    return event.writes if isinstance(event, ir.Opaque) else ()
