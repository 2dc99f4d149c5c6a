"""Who reads what in one body: the readers of each temporary, and the assignments that each read of a variable sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from gradlint.ir import events as ir
from gradlint.ir.cfg import Block, Body

Definition: TypeAlias = "ir.Store | None"
"""An assignment; None stands for the value that a name has when the body is entered."""
Reaching: TypeAlias = "dict[str, frozenset[Definition]]"
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
        self._solved = False
        self.stores: dict[str, list[ir.Store]] = {}
        self.calls: dict[ir.Span, ir.Call] = {}
        self.attributes: list[ir.Attr] = []
        self.enters: list[ir.Enter] = []
        for block in body.graph.blocks:
            for event in block.events:
                self._enter(block, event)

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

    def _enter(self, block: Block, event: ir.Event) -> None:
        self.blocks[event] = block
        inputs = INPUTS.get(type(event))
        if inputs is not None:
            for ref in dict.fromkeys(inputs(event)):
                if ref is not None and ref >= 0:
                    self.readers.setdefault(ref, []).append(event)
        dst = getattr(event, "dst", None)
        if dst is not None:
            self.makers[dst] = event
        if isinstance(event, ir.Store):
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
        before: list[Reaching | None] = [None] * len(blocks)
        before[0] = {}
        pending = [0]
        while pending:
            index = pending.pop()
            state = before[index]
            assert state is not None
            after = dict(state)
            raised = dict(state)
            for event in blocks[index].events:
                for name, found in changes(event):
                    after[name] = found
                    raised[name] = raised.get(name, ENTERED) | found
            targets = [(successor, after) for successor in blocks[index].successors]
            pad = blocks[index].pad
            if pad is not None:
                targets.append((pad, raised))
            for target, arriving in targets:
                joined = joined_with(before[target], arriving)
                if joined is not None:
                    before[target] = joined
                    pending.append(target)
        for block, known in zip(blocks, before, strict=True):
            self._read(block, dict(known) if known is not None else {})

    def _read(self, block: Block, state: Reaching) -> None:
        for event in block.events:
            if isinstance(event, ir.Load):
                seen = self._seen[event] = state.get(event.name, ENTERED)
                for definition in seen:
                    if definition is None:
                        self._entry_loads.setdefault(event.name, []).append(event)
                    else:
                        self._loads.setdefault(definition, []).append(event)
            for name, found in changes(event):
                state[name] = found

    def loops(self, event: ir.Event) -> tuple[int, ...]:
        """The loops around an event, outermost first."""
        return self.blocks[event].loops


def changes(event: ir.Event) -> Iterator[tuple[str, frozenset[Definition]]]:
    """The variables that an event writes, with what a read behind it sees."""
    if isinstance(event, ir.Store):
        yield event.name, frozenset((event,))
    elif isinstance(event, ir.Opaque):
        for name in event.writes:
            yield name, ENTERED


def joined_with(known: Reaching | None, arriving: Reaching) -> Reaching | None:
    """The join of two maps; None if it says nothing that ``known`` does not."""
    if known is None:
        return dict(arriving)
    joined = None
    for name in known.keys() | arriving.keys():
        old = known.get(name, ENTERED)
        new = old | arriving.get(name, ENTERED)
        if new != old or name not in known:
            joined = joined if joined is not None else dict(known)
            joined[name] = new
    return joined
