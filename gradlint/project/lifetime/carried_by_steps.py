"""Attributes in which a method that goes backward carries a recurrent state: to its next iteration, or its next call.

The module that makes the state need not be in sight. It is given the old one, and the pass walks what it returns beside
the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts import Backward
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project.lifetime.carried_attributes import SET_UP, CarriedAttributes
from gradlint.project.values.uses import class_around, owner_of

if TYPE_CHECKING:
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.protocol.protocol import Op, Protocol


class CarriedBySteps(CarriedAttributes):
    """Such attributes in one method; ``records`` says of a forward whether its backward surely needs saved tensors."""

    def __init__(
        self, program: Program, evaluation: Evaluation, protocol: Protocol, records: Callable[[ir.Call], bool]
    ) -> None:
        super().__init__(program, evaluation, protocol.run)
        self.protocol, self.records = protocol, records

    def walked_by(self, op: Op, target: ir.Ref) -> Iterator[WalkedTwice]:
        """Yield the attributes that bring the graph of one pass to the next one from the same ``target``."""
        around, walked = class_around(self.body), self.lineage.of(target)
        if around is None or around[0] is not self.body or self.body.name in SET_UP:
            return
        for event in self.known.events(ir.SetAttr):
            cls = owner_of(self.tracer, self.body, event.obj)
            call = self._state_of(event, walked) if cls is not None else None
            if cls is None or call is None or self.known.loops(call) != op.what.loops:
                continue
            if self._is_always_kept(event, op) and not self._is_set_back(event, cls):
                yield self._made(op, call, event)

    def _state_of(self, event: ir.SetAttr, walked: dict[ir.Event, None]) -> ir.Call | None:
        """The forward which is given what an attribute held, and returns what it gets, and what a pass walks."""
        if grad_mode.never_records(self.tracer.modes(self.body, event)):
            return None
        for call in self._behind(event.src):
            if isinstance(call, ir.Call) and call in walked and self.records(call):
                given = (one for ref in (*call.args, *(ref for _, ref in call.keywords)) for one in self._behind(ref))
                if any(self._is_read(one, event.name) for one in given):
                    return call
        return None

    def _is_always_kept(self, event: ir.SetAttr, op: Op) -> bool:
        """Whether the attribute is stored in every iteration, or call, that goes backward, and the next one comes."""
        loop = op.what.loops[-1] if op.what.loops else None
        if self.known.loops(event) != op.what.loops or (loop is not None and not self.protocol.comes_back(op, loop)):
            return False
        stored = self.known.blocks[event].index
        if stored == op.block or self.order.precedes(event, self.known.calls[op.what.span]):
            return True
        return loop is None and stored in self.run.unconditional()

    def _made(self, op: Op, call: ir.Call, event: ir.SetAttr) -> WalkedTwice:
        store = f"{self.tracer.label(self.body, event.obj)}.{event.name}"
        reasons = ((call.span, "the graph is recorded here"), (op.what.span, "walked here"))
        assert isinstance(op.what, Backward)
        again = op.what.call if op.what.loops else ""
        because = (*reasons, (event.span, "kept here"))
        return WalkedTwice(event.span, again, self._shown(call), store, loop=True, because=because)
