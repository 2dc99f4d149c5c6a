"""The events of one body beside what a run of it says they stand for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from gradlint.domains import tensor
from gradlint.domains.values import TENSOR, Api, Fn, Obj, Value
from gradlint.facts import GradFlag
from gradlint.ir import events as ir
from gradlint.project.values.order import Order

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

E = TypeVar("E", bound=ir.Event)


class Reading:
    """One body: its events, what makes and reads each temporary, and what that may be."""

    def __init__(self, program: Program, tracer: Tracer, run: Run) -> None:
        self.program, self.tracer, self.run, self.body = program, tracer, run, run.body
        self.known = tracer.definitions(run.body)

    @cached_property
    def order(self) -> Order:
        """The order of the events."""
        return self.tracer.order(self.body)

    def events(self, kind: type[E]) -> list[E]:
        """All events of one kind, block after block."""
        return self.known.events(kind)

    def value(self, ref: ir.Ref) -> Value:
        """What a temporary may be."""
        return self.run.temps[ref] if 0 <= ref < len(self.run.temps) else frozenset()

    def untracked(self, ref: ir.Ref) -> ir.Event | None:
        """What first makes a tensor that a temporary may be, if all are made without a graph and never require grad.

        A flag that is set on something of which it is not known what it is may be set on this.
        """
        value = self.value(ref)
        if any(self._may_require_grad(one) for one in value):
            return None
        if any(self._may_mark(call, value) for call in self.events(ir.Call)):
            return None
        made = [atom.event for atom in value if isinstance(atom, Obj) and isinstance(atom.event, ir.Call)]
        return min(made, key=lambda event: event.span, default=None)

    def _may_require_grad(self, atom: Atom) -> bool:
        """Whether something may be no tensor that this body makes, or may hang on a graph, or become a leaf."""
        if not isinstance(atom, Obj) or atom.type != TENSOR or atom.event not in self.known.blocks:
            return True
        place = self.run.places.get(atom)
        if place is None or not place.graph or place.graph & ~(tensor.CUT | tensor.PLAIN):
            return True
        flags = [flag.target.atoms for flag in self.run.recorder.all(GradFlag) if flag.value is not False]
        return any(atom in target or not all(isinstance(one, Obj) for one in target) for target in flags)

    def _may_mark(self, call: ir.Call, value: Value) -> bool:
        """Whether a call may make what it is given require grad: its function does, or is of another file, or nothing
        is done with what it returns.
        """
        given = (*call.args, *(ref for _, ref in call.keywords))
        if not any(self.value(ref) & value for ref in given):
            return False
        if any(isinstance(reader, ir.Discard) for reader in self.known.readers.get(call.dst, ())):
            return True
        bodies = [atom.body for atom in self.value(call.func) if isinstance(atom, Fn)]
        if any(self.program.stubs.is_stub(body) for body in bodies):
            return True
        return any(run is None or run.recorder.all(GradFlag) for run in map(self.tracer.run, bodies))

    def maker(self, ref: ir.Ref) -> ir.Event | None:
        """The event that makes a temporary."""
        return self.known.makers.get(ref)

    def label(self, ref: ir.Ref) -> str:
        """How the source calls a temporary."""
        return self.run.labels[ref] if 0 <= ref < len(self.run.labels) else ""

    def is_api(self, ref: ir.Ref, names: frozenset[str]) -> bool:
        """Whether a temporary is one of the outside things ``names`` for certain."""
        value = self.value(ref)
        return bool(value) and all(isinstance(atom, Api) and atom.name in names for atom in value)

    def method(self, call: ir.Call) -> ir.Attr | None:
        """What is called, where that is an attribute of something."""
        maker = self.maker(call.func)
        return maker if isinstance(maker, ir.Attr) else None

    def given(self, call: ir.Call, index: int, name: str) -> ir.Ref:
        """An argument of a call, by position or by name."""
        if len(call.args) > index:
            return call.args[index]
        return dict(call.keywords).get(name, ir.OPAQUE_REF)

    def is_true(self, call: ir.Call, name: str) -> bool:
        """Whether a keyword argument is True."""
        maker = self.maker(dict(call.keywords).get(name, ir.OPAQUE_REF))
        return isinstance(maker, ir.Const) and maker.value is True
