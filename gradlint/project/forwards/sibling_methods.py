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
from gradlint.facts import ForwardMethod, ModuleMode, Operand
from gradlint.facts.base import Modes
from gradlint.ir import events as ir
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import WALKED, class_around, owner_of, related
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body


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
            if body is self.body or owner is None or not (owner is cls or related(self.program, owner, cls)):
                continue
            for call in self.tracer.definitions(body).readers.get(read.dst, ()):
                if isinstance(call, ir.Call) and call.func == read.dst:
                    walked = self.tracer.trace(("ref", body, call.dst)).of(WALKED)
                    if any(use.body is body for use in walked):
                        return True
        return False

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
