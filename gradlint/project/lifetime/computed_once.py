"""What the constructor of a module computes from its own weights, and `forward` uses: every call walks that one graph.

The first backward frees it, and the weights change with every step while what was computed from them stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.carried_attributes import CALLED, SET_UP, CarriedAttributes
from gradlint.project.values.joining import named_attribute
from gradlint.project.values.uses import OFF, class_around, owner_of

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


class ComputedOnce(CarriedAttributes):
    """Such attributes in one constructor."""

    def found(self, cls: Body) -> Iterator[WalkedTwice]:
        """Yield them in source order."""
        for event, name, value in sorted(self._stored(cls), key=lambda one: one[0].span):
            source = self.weight_behind(value)
            if source is None or not self._is_used(cls, name) or self._is_written_again(cls, name, event):
                continue
            reasons = ((source.span, "the graph is recorded here"), (event.span, "kept here for the next call"))
            yield WalkedTwice(event.span, "", self._shown(source), f"self.{name}", loop=True, because=reasons)

    def _stored(self, cls: Body) -> Iterator[tuple[ir.SetAttr | ir.Call, str, ir.Ref]]:
        """The attributes and buffers that the constructor gives a value, with gradients on."""
        for store in self.known.events(ir.SetAttr):
            if owner_of(self.tracer, self.body, store.obj) is cls and self._records(store):
                yield store, store.name, store.src
        for call in self.known.events(ir.Call):
            place = named_attribute(self.known, call, "register_buffer")
            name = self.known.makers.get(place[1]) if place is not None and len(call.args) > 1 else None
            if place is None or not isinstance(name, ir.Const) or not self._records(call):
                continue
            if owner_of(self.tracer, self.body, place[0]) is cls:
                yield call, str(name.value), call.args[1]

    def _records(self, event: ir.Event) -> bool:
        return not grad_mode.never_records(self.tracer.modes(self.body, event))

    def _is_used(self, cls: Body, name: str) -> bool:
        """Whether `forward` uses the attribute on the graph, and nobody takes it off."""
        if self.tracer.trace(("attr", cls, name)).of(OFF):
            return False
        reads = [(body, read) for body, read in self.tracer.reads_of(name) if body.name not in SET_UP]
        own = [(body, read) for body, read in reads if body.name in CALLED and self._may_be_of(body, read.obj, cls)]
        return any(not grad_mode.never_records(self.tracer.modes(body, read)) for body, read in own)

    def _is_written_again(self, cls: Body, name: str, event: ir.Event) -> bool:
        """Whether any other statement of the file gives the attribute a value, or takes it away."""
        for body in self.program.module.inside():
            for write in self._writes(body):
                if write is not event and write.name == name and self._may_be_of(body, write.obj, cls):
                    return True
            known = self.tracer.definitions(body)
            for call in known.events(ir.Call):
                place = named_attribute(known, call, "register_buffer", "setattr", "delattr")
                made = known.makers.get(place[1]) if place is not None else None
                if place is not None and call is not event and (not isinstance(made, ir.Const) or made.value == name):
                    return True
        return False


def computed_once(program: Program, evaluation: Evaluation, run: Run) -> Iterator[WalkedTwice]:
    """The attributes in which a constructor keeps what it computes from the weights of its module."""
    around = class_around(run.body) if run.body.name == "__init__" else None
    if around is not None and around[0] is run.body and purpose.is_method_of_module(program, run.body):
        yield from ComputedOnce(program, evaluation, run).found(around[1])
