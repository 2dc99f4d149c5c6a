"""Which parameters callers in the file surely hand something on the graph: helpers, and modules that others call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Fn, Obj
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values.call_uses import parameters_for
from gradlint.project.values.definitions import ENTERED
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import class_around

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


class Given:
    """What the functions of one file are called with."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program, self.tracer = program, tracer
        self._calls: dict[Body, list[tuple[Run, ir.Call, Fn]]] = {}
        self._tracked: dict[tuple[Body, str], Span | None] = {}

    def tracked(self, body: Body, name: str) -> Span | None:
        """Where a caller hands a parameter something on the graph, with gradients on; None if none is known to."""
        key = (body, name)
        if key not in self._tracked:
            self._tracked[key] = None  # while it is asked for: recursion
            self._tracked[key] = next(self._handed(body, name), None)
        return self._tracked[key]

    def behind(self, run: Run, ref: ir.Ref) -> Span | None:
        """The same of what a temporary is surely computed from, in a body that itself makes nothing on the graph."""
        for event in Lineage(self.tracer, run).of(ref):
            if isinstance(event, ir.Load) and self._is_parameter(run.body, event):
                span = self.tracked(run.body, event.name)
                if span is not None:
                    return span
        return None

    def _is_parameter(self, body: Body, load: ir.Load) -> bool:
        known = self.tracer.definitions(body)
        return known.seen.get(load) == ENTERED and any(one.name == load.name for one in body.parameters)

    def _handed(self, body: Body, name: str) -> Iterator[Span]:
        for run, call, fn in self._callers(body):
            for ref in (*call.args, *(given for _, given in call.keywords)):
                if name not in parameters_for(call, ref, fn):
                    continue
                value = self.tracer.value(run.body, ref)
                certain = bool(value) and all(run.plain.get(atom) in (tensor.GRAPH, tensor.LEAF) for atom in value)
                if certain or self.behind(run, ref) is not None:
                    yield call.span

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
            names |= {name for method in self._bodies for name in self._held(method, around[1].name)}
        for name in sorted(names):
            yield from (other for other, _ in self.tracer.reads_of(name))

    def _held(self, body: Body, cls: str) -> Iterator[str]:
        """The attributes that are assigned in a body that makes instances of a class."""
        if any(load.name == cls for load in self._loads(body)):
            yield from (event.name for event in self.tracer.definitions(body).events(ir.SetAttr))

    def _loads(self, body: Body) -> list[ir.Load]:
        return self.tracer.definitions(body).events(ir.Load)

    @cached_property
    def _bodies(self) -> list[Body]:
        """All functions and classes of the file, and the module."""
        found = [self.program.module]
        for body in found:
            found.extend(body.children)
        return found

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
