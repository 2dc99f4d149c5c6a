"""Methods without code in sight whose result another method of the class goes backward from: they run a module.

A base class leaves `compute_loss` or `score` to those that derive from it. That its training step goes backward from
what such a method returns proves that the method records a graph, and turns no gradients off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.values import Fn, Sym
from gradlint.facts import Backward, ForwardMethod, ModuleMode, Operand
from gradlint.facts.base import Modes
from gradlint.ir import events as ir
from gradlint.project.lifetime.walked import start_of
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import class_around, owner_of
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run


class SiblingMethods(Reading):
    """The calls of such methods in one method."""

    def found(self) -> Iterator[tuple[ForwardMethod, ir.Call]]:
        """Yield them, each with its call."""
        around = class_around(self.body)
        if around is None or around[0] is not self.body:
            return
        for call in self.events(ir.Call):
            method = self.method(call)
            if method is None or not (call.args or call.keywords) or not self._is_without_code(call, method):
                continue
            modes = self.tracer.modes(self.body, call)
            if modes == grad_mode.INHERITED and self._is_walked(around[1], method.name):
                yield self._forward(call, modes), call

    def _is_without_code(self, call: ir.Call, method: ir.Attr) -> bool:
        """Whether a method of the object itself is called that has no code, and is no loss of given outputs."""
        if owner_of(self.tracer, self.body, method.obj) is None:
            return False
        if roles.LOSS.search(method.name) and len(call.args) + len(call.keywords) > 1:
            return False
        callees = self.value(call.func)
        return bool(callees) and all(
            self.program.is_abstract(atom.body) if isinstance(atom, Fn) else self._is_unknown(atom) for atom in callees
        )

    def _is_unknown(self, atom: object) -> bool:
        return isinstance(atom, Sym) and not self.program.is_module(atom)

    def _is_walked(self, cls: Body, name: str) -> bool:
        """Whether another method of the class, or of one that is related, goes backward from the result."""
        for body, read in self.tracer.reads_of(name):
            owner = owner_of(self.tracer, body, read.obj)
            if body is self.body or owner not in self.tracer.family(cls):
                continue
            run = self.tracer.run(body)
            if run is not None and run.recorder.all(Backward) and read in self._walked(run):
                return True
        return False

    def _walked(self, run: Run) -> set[ir.Event]:
        """What the passes of a body start from, as far as the calls that made it: these put it on the graph."""
        lineage = Lineage(self.tracer, run)
        known = self.tracer.definitions(run.body)

        def further(event: ir.Event) -> list[ir.Ref]:
            if not isinstance(event, ir.Call):
                return lineage.operands(event)
            if event.span in lineage.forwards:
                return []
            is_loss = roles.LOSS.search(self.tracer.label(run.body, event.func))
            given = [*event.args] if is_loss else lineage.operands(event)
            return [event.func, *given]

        targets = (start_of(known, one) for one in run.recorder.backwards() if not one.through and not one.modes.off)
        return {event for ref in targets if ref is not None for event in known.behind(ref, further)}

    def _forward(self, call: ir.Call, modes: int) -> ForwardMethod:
        put = [one for one in self.run.recorder.all(ModuleMode) if self._is_before(one, call)]
        evaluates = bool(put) and all(one.marks & (EVAL | TRAIN) == EVAL for one in put)
        name = put[-1].module.name if evaluates else "self"
        module = Operand(name, call.span, frozenset(), tensor.ANY)
        result = Operand(self.label(call.func), call.span, self.value(call.dst), tensor.ANY)
        block = self.known.blocks[call]
        marks = EVAL if evaluates else 0
        return ForwardMethod(call.span, Modes(modes, {}), block.loops, block.index, module, result, marks)

    def _is_before(self, mode: ModuleMode, call: ir.Call) -> bool:
        """Whether an attribute of the object is put into a mode on every path to a call."""
        event = self.known.calls.get(mode.span)
        return event is not None and mode.module.name.startswith("self.") and self.order.precedes(event, call)
