"""Which parameters callers in the file surely hand something on the graph: helpers, and modules that others call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Fn, Obj
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values import straight_through
from gradlint.project.values.call_uses import parameters_for
from gradlint.project.values.definitions import ENTERED
from gradlint.project.values.joining import hands_back
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import RETURNED, class_around

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

ATTACHED = (tensor.GRAPH, tensor.LEAF)


class Handed(Lineage):
    """The sure ancestors of values, also through functions of the file: also those that `map` applies to several."""

    def operands(self, event: ir.Event) -> list[ir.Ref]:
        """See `Lineage.operands`."""
        found = super().operands(event)
        if isinstance(event, ir.Unpack) and event.index is not None:
            mapped = self._mapped(self.known.makers.get(event.src))
            return [mapped[event.index]] if event.index < len(mapped) else found
        if isinstance(event, ir.Call) and not found and not self._is_off(event):
            given = (*event.args, *(ref for _, ref in event.keywords))
            return [ref for ref in given if hands_back(self.tracer, self.body, event, ref)]
        return found

    def _mapped(self, call: ir.Event | None) -> tuple[ir.Ref, ...]:
        """What `map` applies a function of one argument to that computes something from it."""
        if not isinstance(call, ir.Call) or len(call.args) != 2:
            return ()
        func = self.known.makers.get(call.func)
        items = self.known.makers.get(call.args[1])
        if not isinstance(func, ir.Load) or func.name != "map" or not isinstance(items, ir.Build) or items.starred:
            return ()
        bodies = [atom.body for atom in self.tracer.value(self.body, call.args[0]) if isinstance(atom, Fn)]
        traces = [self.tracer.trace(("param", body, body.parameters[0].name)) for body in bodies if body.parameters]
        return items.items if any(use.sure for trace in traces for use in trace.of(RETURNED)) else ()


class Given:
    """What the functions of one file are called with."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program, self.tracer = program, tracer
        self._calls: dict[Body, list[tuple[Run, ir.Call, Fn]]] = {}
        self._tracked: dict[tuple[Body, str], Span | None] = {}

    def tracked(self, body: Body, name: str) -> Span | None:
        """Where a caller hands a parameter something on the graph, with gradients on; None if none is known to.

        Also where the body itself says so: it hands a gradient straight through to the parameter.
        """
        key = (body, name)
        if key not in self._tracked:
            self._tracked[key] = None  # while it is asked for: recursion
            self._tracked[key] = next(self._handed(body, name), None) or next(self._straight(body, name), None)
        return self._tracked[key]

    def behind(self, run: Run, ref: ir.Ref) -> Span | None:
        """The same of what a temporary is surely computed from, in a body that itself makes nothing on the graph."""
        return self._behind(run, Handed(self.tracer, run), ref, {})

    def _behind(self, run: Run, lineage: Handed, ref: ir.Ref, known: dict[ir.Store, Span | None]) -> Span | None:
        """See `behind`. ``known``: what was found behind assignments so far."""
        for event in lineage.of(ref):
            span: Span | None = None
            if isinstance(event, ir.Call):
                span = event.span if self._is_recorded(run, event.dst) else None
            elif isinstance(event, ir.Load) and self._is_parameter(run.body, event):
                span = self.tracked(run.body, event.name)
            elif isinstance(event, ir.Load):
                span = self._whichever(run, lineage, event, known)
            if span is not None:
                return span
        return None

    def _whichever(self, run: Run, lineage: Handed, load: ir.Load, known: dict[ir.Store, Span | None]) -> Span | None:
        """Where a variable comes from that is tracked whichever assignment it has its value from."""
        seen = self.tracer.definitions(run.body).seen.get(load, ENTERED)
        if len(seen) < 2:
            return None
        found: list[Span | None] = []
        if None in seen:
            is_given = any(one.name == load.name for one in run.body.parameters)
            found.append(self.tracked(run.body, load.name) if is_given else None)
        for store in self.tracer.definitions(run.body).assigning(load):
            if store not in known:
                known[store] = store.span  # while it is looked behind: a loop adds nothing to what enters it
                known[store] = self._behind(run, lineage, store.src, known)
            found.append(known[store])
        return found[0] if None not in found else None

    def _is_parameter(self, body: Body, load: ir.Load) -> bool:
        known = self.tracer.definitions(body)
        return known.seen.get(load) == ENTERED and any(one.name == load.name for one in body.parameters)

    def _straight(self, body: Body, name: str) -> Iterator[Span]:
        """The straight-through estimates of a body that hand the gradient to a parameter."""
        found = list(straight_through.estimates(self.tracer.definitions(body)))
        run = self.program.run(body, grad_mode.INHERITED) if found and body.kind == "function" else None
        lineage = Handed(self.tracer, run) if run is not None and run.complete else None
        for total, through, difference in found if lineage is not None else ():
            assert lineage is not None
            if all(self._comes_from(lineage, ref, name) for ref in (through, difference.dst)):
                yield total.span

    def _comes_from(self, lineage: Handed, ref: ir.Ref, name: str) -> bool:
        loads = (event for event in lineage.of(ref) if isinstance(event, ir.Load) and event.name == name)
        return any(self._is_parameter(lineage.body, load) for load in loads)

    def _handed(self, body: Body, name: str) -> Iterator[Span]:
        for run, call, fn in self._callers(body):
            for ref in (*call.args, *(given for _, given in call.keywords)):
                if name not in parameters_for(call, ref, fn):
                    continue
                if self._is_recorded(run, ref) or self.behind(run, ref) is not None:
                    yield call.span

    def _is_recorded(self, run: Run, ref: ir.Ref) -> bool:
        """Whether a temporary is on the graph unless a layer is left out: `Linear(...) if wide else Identity()`."""
        places = [run.plain.get(atom, 0) for atom in self.tracer.value(run.body, ref)]
        return any(place in ATTACHED for place in places) and all(
            place in (0, tensor.ANY, *ATTACHED) for place in places
        )

    def _callers(self, body: Body) -> list[tuple[Run, ir.Call, Fn]]:
        if body not in self._calls:
            self._calls[body] = []
            for caller in dict.fromkeys(self._mentioning(body)):
                run = self.program.run(caller, grad_mode.INHERITED) if caller.kind in ("function", "module") else None
                if run is not None and run.complete:
                    self._calls[body] += [(run, call, fn) for call, fn in self._called(run) if fn.body is body]
        return self._calls[body]

    def _mentioning(self, body: Body) -> Iterator[Body]:
        """The bodies that read a function by its name, or what holds an instance of the module that it runs."""
        around = class_around(body)
        if around is None:
            yield from (other for other in self._bodies if any(one.name == body.name for one in self._loads(other)))
            return
        names = {body.name}
        if body.name == "forward":
            made = {one.name for one in self.tracer.family(around[1])}
            names |= {name for method in self._bodies for name in self._held(method, made)}
        for name in sorted(names):
            yield from (other for other, _ in self.tracer.reads_of(name))

    def _held(self, body: Body, made: set[str]) -> Iterator[str]:
        """The attributes that are assigned in a body that makes instances of one of some classes."""
        if any(load.name in made for load in self._loads(body)):
            yield from (event.name for event in self.tracer.definitions(body).events(ir.SetAttr))

    def _loads(self, body: Body) -> list[ir.Load]:
        return self.tracer.definitions(body).events(ir.Load)

    @cached_property
    def _bodies(self) -> list[Body]:
        """All functions and classes of the file, and the module."""
        return list(self.program.module.inside())

    def _called(self, run: Run) -> Iterator[tuple[ir.Call, Fn]]:
        """The functions that a body calls with gradients on: also the ``forward`` of the modules."""
        known = self.tracer.definitions(run.body)
        for local in run.recorder.local_calls():
            call = known.calls.get(local.span)
            if call is not None and not local.modes & grad_mode.NO_GRAPH:
                yield call, local.fn
        for call in known.calls.values():
            for atom in self.tracer.value(run.body, call.func):
                cls = atom.cls if isinstance(atom, Obj) else None
                fn = classes.own_function(self.program, cls, "forward") if cls is not None else None
                if fn is not None and not self.tracer.modes(run.body, call) & grad_mode.NO_GRAPH:
                    yield call, self.program.world.fn(fn.body, atom, fn.wrappers, fn.marks)
