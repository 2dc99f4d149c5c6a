"""What is frozen while it holds a gradient that a step still applies (facts: RG20)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, Atom, Obj
from gradlint.facts import Backward, Clear, Forward, Step, Touch
from gradlint.facts.freezing import StaleGradient
from gradlint.ir import events as ir
from gradlint.project.leaves.frozen_training import FrozenTraining
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.project.leaves.freezing import Freeze
    from gradlint.project.protocol.protocol import Op, Protocol


class StaleGradients(FrozenTraining):
    """Looks through one body."""

    def stale(self, protocol: Protocol) -> Iterator[StaleGradient]:
        """What is frozen between the backward pass that fills its gradient and a step that still applies it."""
        if not protocol.is_training or not self.whole:
            return
        clears = [op for op in protocol.ops if isinstance(op.what, (Clear, Touch)) and not self._keeps(op)]
        clearing = [event for op in clears if (event := self._event(op)) is not None]
        for freeze in self.whole:
            for backward in protocol.backwards:
                start = self._event(backward)
                if start is None or not self._fills(backward, freeze) or self._is_cleared(start, freeze, clears):
                    continue
                end = self._applied(protocol, freeze, clearing)
                if end is not None and self.order.leads(start, freeze.anchor, clearing):
                    step = self.label(end.func) + "()"
                    because = ((start.span, "its gradient is filled here"), (end.span, "applied here"))
                    yield StaleGradient(freeze.event.span, freeze.name, step, because, freeze.is_tensor)
                    break

    def _applied(self, protocol: Protocol, freeze: Freeze, clearing: list[ir.Event]) -> ir.Call | None:
        """The first step behind a freeze that applies what it holds, with nothing between that clears it."""
        for step in protocol.steps:
            end = self._event(step)
            applies = isinstance(end, ir.Call) and self._applies(protocol, step, freeze)
            if isinstance(end, ir.Call) and applies and self.order.leads(freeze.event, end, clearing):
                return end
        return None

    def _event(self, op: Op) -> ir.Event | None:
        """The event of the body at which something of the protocol happens."""
        if op.what.span in self.known.calls:
            return self.known.calls[op.what.span]
        return next((e for e in self.graph_events(op.block) if e.span == op.what.span), None)

    def graph_events(self, block: int) -> list[ir.Event]:
        """The events of one block."""
        return self.body.graph.blocks[block].events

    def _keeps(self, op: Op) -> bool:
        """Whether gradients are filled with zeros, which an optimizer with a memory still applies."""
        call = self.known.calls.get(op.what.span)
        flag = dict(call.keywords).get("set_to_none", ir.OPAQUE_REF) if call is not None else ir.OPAQUE_REF
        made = self.maker(flag)
        return isinstance(made, ir.Const) and made.value is False

    def _is_cleared(self, start: ir.Event, freeze: Freeze, clears: list[Op]) -> bool:
        """Whether the loop around a pass, which has ended when something is frozen, clears gradients by and by."""
        ended = set(self.known.loops(start)) - set(self.known.loops(freeze.event))
        return any(set(op.what.loops) & ended for op in clears)

    def _fills(self, backward: Op, freeze: Freeze) -> bool:
        assert isinstance(backward.what, Backward)
        if isinstance(freeze.frozen, Obj) and freeze.frozen.type == PARAMETER:
            return freeze.frozen in demands.ancestors(self.run, backward.what.target.atoms)
        reached = {
            atom
            for forward in self.run.recorder.all(Forward)
            if demands.ancestors(self.run, backward.what.target.atoms) & forward.result.atoms
            for atom in forward.module.atoms
        }
        return any(self.covers(freeze, atom) or self.is_part(frozenset((atom,)), freeze.frozen) for atom in reached)

    def _applies(self, protocol: Protocol, step: Op, freeze: Freeze) -> bool:
        """Whether a step is of an optimizer with what is frozen; of one that is not in sight, if it is the only one."""
        assert isinstance(step.what, Step)
        for atom in step.what.optimizer.atoms:
            owners = self._owners_of(atom)
            if owners:
                return any(self.covers(freeze, one) or self.is_part(frozenset((one,)), freeze.frozen) for one in owners)
        return len(protocol.stepped) == 1 and not any(isinstance(atom, Obj) for atom in protocol.stepped)

    def _owners_of(self, optimizer: Atom) -> list[Atom]:
        event = optimizer.event if isinstance(optimizer, Obj) else None
        if isinstance(event, ir.Call) and event in self.known.blocks:
            return self._owners(self.given(event, 0, "params"))
        return list(self.program.owners.get(optimizer) or ())
