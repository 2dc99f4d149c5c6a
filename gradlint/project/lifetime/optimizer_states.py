"""Optimizers of the file whose `step` records: what a parameter is mixed into puts their state on the graph.

Nobody notices, as long as the parameters themselves are written through `.data`; the graphs of all steps hang on the
state. Where a parameter is written directly, somebody else turns gradients off: it would raise otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts.lifetime import RunningGraph
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.lifetime.growing import spelled, spelled_ref
from gradlint.project.values.uses import class_around
from gradlint.project.values.valued import Valued
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

MOST_STEPS = 8
"""How many steps from a value to what it is a part of are looked through."""
LISTS = frozenset({"enumerate", "zip", "list", "reversed"})
"""Functions that hand out the items of what they are given."""


class OptimizerStates:
    """The updates of an optimizer's state in one of its methods."""

    def __init__(self, program: Program, tracer: Tracer, run: Run) -> None:
        self.program, self.tracer, self.body = program, tracer, run.body
        self.lineage = Valued(tracer, run)
        self.known = self.lineage.known

    def found(self) -> Iterator[RunningGraph]:
        """Yield the updates that put state on the graph."""
        if not self._is_of_optimizer() or self._writes_directly():
            return
        for event in self.known.blocks:
            if isinstance(event, ir.SetItem) and self._is_in_state(event.obj):
                yield from self._made(event, event.obj, [event.src] if self._keeps_old(event) else [])
            elif isinstance(event, ir.Call) and (target := self._edited(event)) is not None:
                if self._is_new(event, target):
                    continue
                yield from self._made(event, target, [*event.args, *(ref for _, ref in event.keywords)])

    def _is_of_optimizer(self) -> bool:
        around = class_around(self.body)
        if around is None or around[0] is not self.body or self.body.name == "__init__":
            return False
        return classes.is_optimizer(self.program.class_of(around[1]))

    def _made(self, event: ir.Event, store: ir.Ref, values: list[ir.Ref]) -> Iterator[RunningGraph]:
        if grad_mode.NO_GRAPH & self.tracer.modes(self.body, event):
            return
        for value in values:
            parameter = self._parameter(value)
            if parameter is not None:
                label = self.tracer.label(self.body, store) or "it"
                reasons = (
                    (parameter.span, "a parameter, which requires grad"),
                    (self.known.makers[value].span, "on the graph"),
                    (event.span, "written into the state here"),
                )
                yield RunningGraph(event.span, label, parameter.name, reasons)
                return

    # -- parameters ----------------------------------------------------------------------------------------

    def _parameter(self, ref: ir.Ref) -> ir.Load | None:
        """The read of a parameter that a value is computed from on the graph."""
        behind = self.lineage.possible(ref)
        return next((one for one in behind if isinstance(one, ir.Load) and self._is_parameter(one)), None)

    def _is_parameter(self, load: ir.Load) -> bool:
        """Whether a variable runs over the parameters of a group."""
        stores = self.known.assigning(load)
        return bool(stores) and all(self._runs_over_group(store.src) for store in stores)

    def _runs_over_group(self, ref: ir.Ref) -> bool:
        index: int | None = None
        for _ in range(MOST_STEPS):
            maker = self.known.makers.get(ref)
            if isinstance(maker, ir.Unpack):
                index, ref = maker.index, maker.src
            elif isinstance(maker, ir.Next):
                ref = maker.iterator
            elif isinstance(maker, ir.Iterate):
                ref = maker.src
            elif isinstance(maker, ir.Call):
                func = self.known.makers.get(maker.func)
                name = func.name if isinstance(func, ir.Load) and func.name in LISTS and maker.args else ""
                place = index if name == "zip" and index is not None else 0
                if not name or place >= len(maker.args) or (name == "enumerate" and index != 1):
                    return False
                index, ref = None, maker.args[place]
            else:
                return isinstance(maker, ir.Item) and spelled_ref(self.known, maker.key) == ("params",)
        return False

    def _writes_directly(self) -> bool:
        """Whether a parameter itself is written, which raises where gradients are on."""
        for call in self.known.events(ir.Call):
            method = self.known.makers.get(call.func)
            if isinstance(method, ir.Attr) and method.name.endswith("_") and method.name in tensor_methods():
                load = self.known.makers.get(method.obj)
                if method.name != "requires_grad_" and isinstance(load, ir.Load) and self._is_parameter(load):
                    return True
        targets = (self.known.makers.get(event.target) for event in self.known.events(ir.Augment))
        return any(isinstance(load, ir.Load) and self._is_parameter(load) for load in targets)

    # -- state ---------------------------------------------------------------------------------------------

    def _edited(self, call: ir.Call) -> ir.Ref | None:
        """The state that a method of a tensor writes: ``x`` in ``x.mul_(d).add_(v)``."""
        method = self.known.makers.get(call.func)
        while isinstance(method, ir.Attr) and method.name.endswith("_") and method.name in tensor_methods():
            inner = self.known.makers.get(method.obj)
            if not isinstance(inner, ir.Call):
                return method.obj if self._is_in_state(method.obj) else None
            method = self.known.makers.get(inner.func)
        return None

    def _is_in_state(self, ref: ir.Ref) -> bool:
        """Whether something is what the optimizer keeps for a parameter, or a part of it."""
        for _ in range(MOST_STEPS):
            maker = self.known.makers.get(ref)
            if isinstance(maker, ir.Item):
                ref = maker.obj
            elif isinstance(maker, ir.Load) and (only := self.known.only(maker)) is not None:
                ref = only.src
            elif isinstance(maker, ir.Unpack):
                whole = self.known.makers.get(maker.src)
                if not isinstance(whole, ir.Build) or maker.index is None or whole.starred:
                    return False
                ref = whole.items[maker.index] if maker.index < len(whole.items) else ir.OPAQUE_REF
            else:
                return isinstance(maker, ir.Attr) and spelled_ref(self.known, ref) == (self._self, ".state")
        return False

    def _is_new(self, event: ir.Call, target: ir.Ref) -> bool:
        """Whether what is written was made in the same iteration: it keeps no graph of an earlier one."""
        place = spelled_ref(self.known, target)
        order = self.tracer.order(self.body)
        return any(
            spelled(self.known, made) == place
            and self.known.loops(made) == self.known.loops(event)
            and order.precedes(made, event)
            and not self._keeps_old(made)
            for made in self.known.events(ir.SetItem)
        )

    @property
    def _self(self) -> str:
        return self.body.parameters[0].name if self.body.parameters else ""

    def _keeps_old(self, event: ir.SetItem) -> bool:
        """Whether what is stored is computed from what was stored before: otherwise one graph is kept at most."""
        key = spelled_ref(self.known, event.key)
        behind = self.lineage.possible(event.src)
        old = (one for one in behind if isinstance(one, ir.Item) and spelled_ref(self.known, one.key) == key)
        return any(self._is_in_state(one.obj) for one in old)


def optimizer_states(program: Program, tracer: Tracer, run: Run) -> list[RunningGraph]:
    """The updates in one body with which the state of an optimizer joins the graph."""
    return list(OptimizerStates(program, tracer, run).found())
