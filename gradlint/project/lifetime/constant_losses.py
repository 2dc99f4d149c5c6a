"""Losses that are a fresh constant on some path to their backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.facts import Backward
from gradlint.facts.targets import ConstantLoss
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.fresh_constants import Constant, FreshConstants, names_in
from gradlint.project.lifetime.walked import start_of
from gradlint.project.protocol.protocol import is_plain
from gradlint.project.values.reading import Reading

if TYPE_CHECKING:
    from gradlint.project.protocol.protocol import Protocol
    from gradlint.project.values.uses import Tracer


class Constants(Reading):
    """The backward passes of one body."""

    def losses(self, protocol: Protocol) -> Iterator[ConstantLoss]:
        """Yield the constants that they may start from, each once."""
        found: dict[ir.Span, ConstantLoss] = {}
        fresh = FreshConstants(self.program, self.tracer)
        for op in protocol.backwards:
            assert isinstance(op.what, Backward)
            call = self.known.calls.get(op.what.span)
            target = self._target(op.what)
            if call is None or target is None or op.what.through or not is_plain(op) or self._is_checked(target, call):
                continue
            parts = fresh.of(self.body, target)
            for constant in parts.constants if parts.others else ():
                event = constant.event
                if constant.body is self.body and self._is_chosen(event, call):
                    continue
                because = ((call.span, "backward here"),)
                leaf = isinstance(event, ir.Call) and "requires_grad" in dict(event.keywords)
                text = self._text(constant)
                found.setdefault(event.span, ConstantLoss(event.span, text, op.what.call, because, leaf))
        yield from sorted(found.values(), key=lambda one: one.span)

    def _target(self, one: Backward) -> ir.Ref | None:
        """What a pass starts from, without the scaler of mixed precision."""
        target = start_of(self.known, one)
        scaled = self.maker(target) if target is not None else None
        method = self.method(scaled) if isinstance(scaled, ir.Call) and len(scaled.args) == 1 else None
        return (
            scaled.args[0] if isinstance(scaled, ir.Call) and method is not None and method.name == "scale" else target
        )

    def _is_checked(self, target: ir.Ref, backward: ir.Call) -> bool:
        """Whether a condition in front of a backward pass asks about what it starts from."""
        names = names_in(self.known, target)
        return any(
            self.order.precedes(assume, backward) and names & names_in(self.known, assume.cond)
            for assume in self.known.events(ir.Assume)
        )

    def _is_chosen(self, constant: ir.Event, backward: ir.Call) -> bool:
        """Whether a pass runs under a condition of its own, which may rule a constant out that is made here."""
        return any(
            self.order.precedes(assume, backward) and not self.order.precedes(assume, constant)
            for assume in self.known.events(ir.Assume)
        )

    def _text(self, constant: Constant) -> str:
        event = constant.event
        if isinstance(event, ir.Call):
            return f"{self.tracer.label(constant.body, event.func)}(...)"
        return str(event.value) if isinstance(event, ir.Const) else "a constant"


def constant_losses(tracer: Tracer, protocol: Protocol, path: str) -> list[ConstantLoss]:
    """The constants that the backward passes of one body may start from."""
    run = protocol.run
    if not protocol.backwards or purpose.is_test(run.body, path):
        return []
    return list(Constants(protocol.program, tracer, run).losses(protocol))
