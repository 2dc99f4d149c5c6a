"""The events of one body beside what a run of it says they stand for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from gradlint.domains.values import Api, Value
from gradlint.ir import events as ir
from gradlint.project.values.order import Order

if TYPE_CHECKING:
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
