"""Backward passes that walk a graph which an earlier pass has freed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Literal
from gradlint.facts import Backward
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.carried import Carried
from gradlint.project.lifetime.carried_attributes import carried_attributes
from gradlint.project.lifetime.carried_by_steps import CarriedBySteps
from gradlint.project.lifetime.computed_once import computed_once
from gradlint.project.lifetime.received import holding, turns
from gradlint.project.lifetime.walked import start_of
from gradlint.project.protocol.protocol import Op, Protocol, is_plain
from gradlint.project.values.lineage import Lineage

if TYPE_CHECKING:
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program


class Rewalked:
    """The passes of one body that find a freed graph."""

    def __init__(self, program: Program, evaluation: Evaluation, protocol: Protocol) -> None:
        self.program, self.protocol, self.run = program, protocol, protocol.run
        self.evaluation, self.tracer = evaluation, evaluation.tracer
        self.known = self.tracer.definitions(self.run.body)
        self.lineage = Lineage(self.tracer, self.run)
        self.carried = Carried(self.lineage, self._is_recorded)

    def passes(self) -> Iterator[WalkedTwice]:
        """Yield them in source order, each once."""
        # A target that may be several things is walked once all the same.
        ops = list({op.what.span: op for op in self.protocol.walks if self._is_direct(op)}.values())
        walked = {op: self._walked(op) for op in ops}
        found: dict[ir.Span, WalkedTwice] = {}
        for second in ops:
            for first in ops:
                if second.what.span in found or self._retains(first):
                    continue
                one = self._again(first, second, walked) if first is not second else self._in_loop(first, walked)
                if one is not None:
                    found[one.span] = one
            if second.what.span not in found and (one := self._retained(second)) is not None:
                found[one.span] = one
            for one in self._kept_by_object(second):
                found.setdefault(one.span, one)
        yield from sorted(found.values(), key=lambda one: one.span)

    def _is_direct(self, op: Op) -> bool:
        what = op.what
        assert isinstance(what, Backward)
        fills_all = is_plain(op) or what.how == "grad"
        return not what.through and fills_all and not what.modes.off and self.known.calls.get(what.span) is not None

    def _retains(self, op: Op) -> bool:
        """Whether a pass keeps the graph, or may."""
        call = self.known.calls[op.what.span]
        flags = [ref for name, ref in call.keywords if name in ("retain_graph", "create_graph", None)]
        assert isinstance(op.what, Backward)
        positional = call.args[3:] if op.what.how == "grad" else call.args[1:]
        if positional or call.starred:
            return True
        return any(not self._is_false(ref) for ref in flags)

    def _is_false(self, ref: ir.Ref) -> bool:
        return self._is_constant(ref, False)

    def _is_constant(self, ref: ir.Ref, wanted: bool) -> bool:
        """Whether a flag is on, or off, for certain."""
        value = self.tracer.value(self.run.body, ref)
        return bool(value) and all(isinstance(atom, Literal) and bool(atom.value) is wanted for atom in value)

    def _target(self, op: Op) -> ir.Ref | None:
        """What a pass starts from."""
        assert isinstance(op.what, Backward)
        return start_of(self.known, op.what)

    def _walked(self, op: Op) -> dict[ir.Event, None]:
        """The events that surely made what a pass walks."""
        target = self._target(op)
        return self.lineage.of(target) if target is not None else {}

    def _is_recorded(self, call: ir.Call) -> bool:
        """Whether a forward surely saves what its backward needs."""
        return self._shared({call: None}, {call: None}) is not None

    def _shared(self, walked: dict[ir.Event, None], other: dict[ir.Event, None]) -> ir.Call | None:
        """The nearest forward behind two passes that saved tensors for its backward."""
        frozen = self.evaluation.frozen
        for event in walked:
            if event in other and isinstance(event, ir.Call) and self.lineage.records(event):
                atoms = self.lineage.forwards[event.span].module.atoms
                if not frozen.covers(atoms) and not any(self.program.is_free_of_parameters(atom) for atom in atoms):
                    return event
        return None

    def _operation(self, first: Op, second: Op, walked: dict[Op, dict[ir.Event, None]]) -> ir.Event | None:
        """The nearest operation behind two passes that saved a tensor; a pass to given inputs may end before it."""
        if not all(self._goes_to_leaves(op) for op in (first, second)):
            return None
        kinds = (ir.Binary, ir.Call)
        both = (event for event in walked[second] if event in walked[first] and isinstance(event, kinds))
        return next((event for event in both if self.lineage.saves(event)), None)

    def _goes_to_leaves(self, op: Op) -> bool:
        assert isinstance(op.what, Backward)
        call = self.known.calls[op.what.span]
        return op.what.how == "backward" and all(name != "inputs" for name, _ in call.keywords)

    def _passes(self, op: Op, shared: ir.Event) -> bool:
        """Whether a pass goes through a forward: one for the gradients of given tensors ends at these."""
        assert isinstance(op.what, Backward)
        if op.what.how != "grad":
            return True
        call = self.known.calls[op.what.span]
        asked = call.args[1] if len(call.args) > 1 else dict(call.keywords).get("inputs")
        if asked is None or not isinstance(shared, ir.Call):
            return False
        given = (*shared.args, *(ref for _, ref in shared.keywords))
        read = {one for ref in given for one in self._variables(ref)}
        return not read.isdisjoint(self._variables(asked)) or self._is_of_module(asked, shared)

    def _variables(self, ref: ir.Ref) -> Iterator[tuple[str, frozenset[ir.Store]]]:
        """The variables that something is surely computed from, each with what may stand in it there."""
        for event in self.lineage.of(ref):
            if isinstance(event, ir.Load):
                yield event.name, frozenset(self.known.assigning(event))

    def _is_of_module(self, asked: ir.Ref, forward: ir.Call) -> bool:
        """Whether gradients are asked for the parameters of the module that ran: `list(model.parameters())`."""
        maker = self.known.makers.get(asked)
        while isinstance(maker, (ir.Load, ir.Call)):
            method = self.known.makers.get(maker.func) if isinstance(maker, ir.Call) else None
            if isinstance(method, ir.Attr):
                same = self.tracer.value(self.run.body, method.obj) == self.lineage.forwards[forward.span].module.atoms
                return method.name == "parameters" and same
            refs = maker.args if isinstance(maker, ir.Call) else self.lineage.operands(maker)
            maker = self.known.makers.get(refs[0]) if len(refs) == 1 else None
        return False

    def _again(self, first: Op, second: Op, walked: dict[Op, dict[ir.Event, None]]) -> WalkedTwice | None:
        """Two passes over one forward, in one iteration."""
        loop = self.protocol.common_loop(first, second)
        shared = self._shared(walked[second], walked[first]) or self._operation(first, second, walked)
        if shared is not None and not (self._passes(first, shared) and self._passes(second, shared)):
            return None
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

    def _parts(self, shared: ir.Event, walked: dict[ir.Event, None]) -> set[ir.Event]:
        """The parts of what a call returns that a pass walks."""
        found: set[ir.Event] = set()
        for event in walked:
            if isinstance(event, (ir.Unpack, ir.Item)) and not self._is_range(event):
                refs, makers = self.lineage.operands(event), self.known.makers
                maker = makers.get(refs[0]) if refs else None
                while isinstance(maker, ir.Load) and (inner := self.lineage.operands(maker)):
                    maker = makers.get(inner[0])
                if maker is shared:
                    found.add(event)
        return found

    def _is_another_part(self, shared: ir.Event, inside: dict[ir.Event, None]) -> bool:
        """Whether each iteration takes another part of what a call returns: of a dict, or by a key that varies."""
        keys = (part.key for part in self._parts(shared, inside) if isinstance(part, ir.Item))
        if any(not isinstance(self.known.makers.get(key), ir.Const) for key in keys):
            return True
        return any(turn in inside for turn in self._turns_over_values(shared))

    def _turns_over_values(self, shared: ir.Event) -> Iterator[ir.Event]:
        """The turns of loops over the values of the dict that a call returns."""
        for held in holding(self.known, shared.dst) if isinstance(shared, ir.Call) else ():
            for name in ("values", "items"):
                yield from turns(self.known, held, name)

    def _is_range(self, event: ir.Unpack | ir.Item) -> bool:
        """Whether it is a range of a tensor, which no other container has: `output[:, 0]`."""
        key = self.known.makers.get(event.key) if isinstance(event, ir.Item) else None
        return isinstance(key, ir.Build) and key.kind == "tuple"

    def _in_loop(self, op: Op, walked: dict[Op, dict[ir.Event, None]]) -> WalkedTwice | None:
        """A pass in a loop over a forward outside of it, or one that is fed its own result of the iteration before."""
        for loop in reversed(op.what.loops):
            if not self.protocol.ends(op, loop, []) or not self.protocol.comes_back(op, loop):
                continue
            inside = {event: None for event in walked[op] if loop in self.known.loops(event)}
            outer = {event: None for event in walked[op] if event not in inside}
            shared = self._shared(outer, outer) or self._operation(op, op, {op: outer})
            if shared is not None and self._passes(op, shared) and not self._is_another_part(shared, inside):
                return self._made(op, op, shared, "")
            brought = self.carried.into(target, loop) if (target := self._target(op)) is not None else None
            if brought is not None:
                return self._made(op, op, *brought)
        return None

    def _retained(self, op: Op) -> WalkedTwice | None:
        """A pass that retains the graph, and walks those of all iterations before it in each of them."""
        call, target = self.known.calls[op.what.span], self._target(op)
        flags = dict(call.keywords)
        assert isinstance(op.what, Backward)
        if op.what.how != "backward" or set(flags) != {"retain_graph"} or call.args or target is None:
            return None
        if not self._is_constant(flags["retain_graph"], True):
            return None
        for loop in reversed(op.what.loops):
            if self.protocol.ends(op, loop, []) and self.protocol.comes_back(op, loop):
                brought = self.carried.into(target, loop)
                if brought is not None:
                    return self._made(op, op, *brought, freed="retained here, in the iteration before")
        return None

    def _kept_by_object(self, op: Op) -> Iterator[WalkedTwice]:
        """The attributes that bring what a pass walks to the next one."""
        target = self._target(op)
        assert isinstance(op.what, Backward)
        if target is not None and op.what.how != "grad":
            steps = CarriedBySteps(self.program, self.evaluation, self.protocol, self._is_recorded)
            yield from steps.walked_by(op, target)

    def _shown(self, event: ir.Event) -> str:
        """How to call an operation: by its function, or by what it makes."""
        if isinstance(event, ir.Call):
            return f"{self.tracer.label(self.run.body, event.func)}(...)"
        if not isinstance(event, ir.Binary):
            return "it"
        left, right = (self.tracer.label(self.run.body, ref) or "..." for ref in (event.left, event.right))
        return f"{left} {event.op} {right}"

    def _made(self, first: Op, second: Op, shared: ir.Event, carried: str, freed: str = "") -> WalkedTwice:
        assert isinstance(second.what, Backward)
        label = self._shown(shared)
        freed = freed or ("freed here" if first is not second else "freed here, in the iteration before")
        reasons = ((shared.span, "the graph is recorded here"), (first.what.span, freed))
        return WalkedTwice(second.what.span, second.what.call, label, carried, first is second, reasons)


def walked_twice(program: Program, path: str, evaluation: Evaluation, protocol: Protocol) -> list[WalkedTwice]:
    """The backward passes of one body that walk a graph which an earlier pass has freed."""
    if purpose.is_test(protocol.run.body, path):
        return []
    passes = Rewalked(program, evaluation, protocol).passes() if protocol.walks else ()
    run = protocol.run
    return [*passes, *carried_attributes(program, path, evaluation, run), *computed_once(program, evaluation, run)]
