"""Backward passes that walk a graph which an earlier pass has freed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Literal
from gradlint.facts import Backward
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lineage import Lineage
from gradlint.project.protocol import Op, Protocol, is_plain

if TYPE_CHECKING:
    from gradlint.project.evaluation import Evaluation
    from gradlint.project.program import Program


class Rewalked:
    """The passes of one body that find a freed graph."""

    def __init__(self, program: Program, evaluation: Evaluation, protocol: Protocol) -> None:
        self.program, self.protocol, self.run = program, protocol, protocol.run
        self.evaluation, self.tracer = evaluation, evaluation.tracer
        self.known = self.tracer.definitions(self.run.body)
        self.lineage = Lineage(self.tracer, self.run)

    def passes(self) -> Iterator[WalkedTwice]:
        """Yield them in source order, each once."""
        # A target that may be several things is walked once all the same.
        ops = list({op.what.span: op for op in self.protocol.backwards if self._is_direct(op)}.values())
        walked = {op: self._walked(op) for op in ops}
        found: dict[ir.Span, WalkedTwice] = {}
        for second in ops:
            for first in ops:
                if second.what.span in found or self._retains(first):
                    continue
                one = self._again(first, second, walked) if first is not second else self._in_loop(first, walked)
                if one is not None:
                    found[one.span] = one
        yield from sorted(found.values(), key=lambda one: one.span)

    def _is_direct(self, op: Op) -> bool:
        what = op.what
        assert isinstance(what, Backward)
        return not what.through and is_plain(op) and not what.modes.off and self.known.calls.get(what.span) is not None

    def _retains(self, op: Op) -> bool:
        """Whether a pass keeps the graph, or may."""
        call = self.known.calls[op.what.span]
        flags = [ref for name, ref in call.keywords if name in ("retain_graph", "create_graph", None)]
        positional = call.args[1:]
        if positional or call.starred:
            return True
        return any(not self._is_false(ref) for ref in flags)

    def _is_false(self, ref: ir.Ref) -> bool:
        value = self.tracer.value(self.run.body, ref)
        return bool(value) and all(isinstance(atom, Literal) and not atom.value for atom in value)

    def _walked(self, op: Op) -> dict[ir.Event, None]:
        """The events that surely made what a pass walks."""
        call = self.known.calls[op.what.span]
        method = self.known.makers.get(call.func)
        assert isinstance(op.what, Backward)
        target = call.args[0] if op.what.how != "backward" and call.args else None
        if target is None:
            target = method.obj if isinstance(method, ir.Attr) else None
        return self.lineage.of(target) if target is not None else {}

    def _shared(self, walked: dict[ir.Event, None], other: dict[ir.Event, None]) -> ir.Call | None:
        """The nearest forward behind two passes that saved tensors for its backward."""
        frozen = self.evaluation.frozen
        for event in walked:
            if event in other and isinstance(event, ir.Call) and self.lineage.records(event):
                atoms = self.lineage.forwards[event.span].module.atoms
                if not frozen.covers(atoms) and not any(self.program.is_free_of_parameters(atom) for atom in atoms):
                    return event
        return None

    def _again(self, first: Op, second: Op, walked: dict[Op, dict[ir.Event, None]]) -> WalkedTwice | None:
        """Two passes over one forward, in one iteration."""
        loop = self.protocol.common_loop(first, second)
        shared = self._shared(walked[second], walked[first])
        if shared is None or self.known.loops(shared) != first.what.loops or first.what.loops != second.what.loops:
            return None
        # The parts of what a module returns may have a graph each, as those of twin networks do.
        if self._parts(shared, walked[first]) != self._parts(shared, walked[second]):
            return None
        if not self.protocol.leads(first, second, loop):
            return None
        if not self.protocol.passes(first.block, second, loop) and self.protocol.ends(first, loop, [second]):
            return None
        return self._made(first, second, shared, "")

    def _parts(self, shared: ir.Call, walked: dict[ir.Event, None]) -> set[ir.Event]:
        """The parts of what a call returns that a pass walks."""
        found: set[ir.Event] = set()
        for event in walked:
            if isinstance(event, (ir.Unpack, ir.Item)):
                refs, makers = self.lineage.operands(event), self.known.makers
                maker = makers.get(refs[0]) if refs else None
                while isinstance(maker, ir.Load) and (inner := self.lineage.operands(maker)):
                    maker = makers.get(inner[0])
                if maker is shared:
                    found.add(event)
        return found

    def _in_loop(self, op: Op, walked: dict[Op, dict[ir.Event, None]]) -> WalkedTwice | None:
        """A pass in a loop over a forward outside of it, or one that is fed its own result of the iteration before."""
        for loop in reversed(op.what.loops):
            if not self.protocol.ends(op, loop, []) or not self._comes_back(op, loop):
                continue
            inside = {event: None for event in walked[op] if loop in self.known.loops(event)}
            outer = {event: None for event in walked[op] if event not in inside}
            shared = self._shared(outer, outer)
            if shared is not None:
                return self._made(op, op, shared, "")
            carried = self._carried(op, loop, inside)
            if carried is not None:
                return carried
        return None

    def _comes_back(self, op: Op, loop: int) -> bool:
        """Whether the loop may run once more after the pass."""
        graph = self.run.body.graph
        head = graph.loops[loop].head
        pending, seen = list(graph.blocks[op.block].successors), set[int]()
        while pending:
            index = pending.pop()
            if index == head:
                return True
            if index not in seen and loop in graph.blocks[index].loops:
                seen.add(index)
                pending.extend(graph.blocks[index].successors)
        return False

    def _carried(self, op: Op, loop: int, inside: dict[ir.Event, None]) -> WalkedTwice | None:
        """A forward in the loop that is given what it returned in the iteration before."""
        for event in inside:
            if not isinstance(event, ir.Call) or self._shared({event: None}, inside) is None:
                continue
            for load in self._read_by(event):
                stores = [store for store in self.known.seen.get(load, ()) if store is not None]
                fed = [store for store in stores if event in self.lineage.of(store.src)]
                others = [store for store in stores if store not in fed]
                if not fed or any(loop in self.known.loops(store) for store in others):
                    continue
                if all(loop in self.known.loops(store) for store in fed):
                    return self._made(op, op, event, load.name)
        return None

    def _read_by(self, call: ir.Call) -> Iterator[ir.Load]:
        """The variables that a call is given, also inside of a tuple."""
        pending = [*call.args, *(ref for _, ref in call.keywords)]
        while pending:
            maker = self.known.makers.get(pending.pop())
            if isinstance(maker, ir.Load):
                yield maker
            elif isinstance(maker, ir.Build) and maker.kind in ("tuple", "list"):
                pending.extend(maker.items)

    def _made(self, first: Op, second: Op, shared: ir.Call, carried: str) -> WalkedTwice:
        assert isinstance(second.what, Backward)
        label = f"{self.tracer.label(self.run.body, shared.func)}(...)"
        freed = "freed here" if first is not second else "freed here, in the iteration before"
        reasons = ((shared.span, "the graph is recorded here"), (first.what.span, freed))
        return WalkedTwice(second.what.span, second.what.call, label, carried, first is second, reasons)


def walked_twice(program: Program, path: str, evaluation: Evaluation, protocol: Protocol) -> list[WalkedTwice]:
    """The backward passes of one body that walk a graph which an earlier pass has freed."""
    if not protocol.backwards or purpose.is_test(protocol.run.body, path):
        return []
    return list(Rewalked(program, evaluation, protocol).passes())
