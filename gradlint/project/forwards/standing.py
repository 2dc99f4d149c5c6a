"""Modules that are put in eval mode where they are made, and stay in it: every function of the file finds them so.

Those are attributes that a method of the class puts in eval mode, and variables of the file, of a file in which nobody
trains: nothing goes backward, makes a step or puts the module in train mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.values import Api, Cls
from gradlint.facts import Backward, ModuleMode, Step
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values.uses import class_around

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

PREPARES = re.compile(r"^(?:__init__|_*(?:setup|set_up|load|init|build|create|prepare|make)(?:_\w+)?)$")
"""Names of methods that run once, before the others."""

CHAIN = ("eval", "to", "cuda", "cpu", "half", "float", "bfloat16", "double", "requires_grad_")
"""Methods of a module that return the module."""


class Standing:
    """The modules of one file that stay in eval mode."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program, self.tracer = program, tracer

    def eval_since(self, body: Body, name: str) -> Span | None:
        """Where the module that ``body`` calls ``name`` was put in eval mode for good; None if it was not."""
        if self._trains:
            return None
        root, _, rest = name.partition(".")
        around = class_around(body)
        if around is not None and around[0].parameters and root == around[0].parameters[0].name:
            cls = self.program.class_of(around[1])
            if any(map(self._is_hidden, classes.lineage(cls))):
                return None
            return self._settled(rest, [*classes.methods(cls)])
        if root in body.locals or not root:
            return None
        return self._settled(name, [self.program.module])

    @cached_property
    def _trains(self) -> bool:
        """Whether anybody in the file trains."""
        kinds = (Backward, Step)
        return any(run is not None and run.recorder.all(kind) for run in self.program.runs.values() for kind in kinds)

    def _is_hidden(self, cls: Cls | Api) -> bool:
        """Whether a method of a class that was not lowered calls a ``train``."""
        span = cls.body.span if isinstance(cls, Cls) else (0, 0, -1, 0)
        calls = self.program.module.calls("train")
        return any(span[0] <= line <= span[2] and not lowered for line, _, lowered in calls)

    def _settled(self, name: str, scopes: list[Body]) -> Span | None:
        """Where bodies put ``name``, or what it is part of, in eval mode, unless one puts it in train mode."""
        found: list[Span] = []
        for scope in scopes:
            for named, marks, span in self._modes(scope):
                if name == named or name.startswith(f"{named}."):
                    if marks & TRAIN:
                        return None
                    if scope.kind == "module" or PREPARES.search(scope.name):
                        found.append(span)
        return min(found, default=None)

    def _modes(self, scope: Body) -> Iterator[tuple[str, int, Span]]:
        """What a body puts into which mode: attributes of its object for a method, variables for the module."""
        holder = f"{scope.parameters[0].name}." if scope.kind == "function" and scope.parameters else ""
        for run in self._runs(scope):
            for mode in run.recorder.all(ModuleMode):
                name = self._named(scope, mode)
                if name.startswith(holder):
                    yield name.removeprefix(holder), mode.marks, mode.span
        for event in scope.graph.events():
            if isinstance(event, ir.SetAttr) and f"{self.tracer.label(scope, event.obj)}." != holder:
                continue
            if isinstance(event, ir.SetAttr) or (isinstance(event, ir.Store) and not holder):
                call = self._eval_call(scope, event.src)
                if call is not None:
                    yield event.name, EVAL, call.span

    def _named(self, scope: Body, mode: ModuleMode) -> str:
        """What a body calls the module that it puts into a mode."""
        known = self.tracer.definitions(scope)
        call = known.calls.get(mode.span)
        method = known.makers.get(call.func) if call is not None else None
        return self.tracer.label(scope, method.obj) if isinstance(method, ir.Attr) else mode.module.name

    def _runs(self, scope: Body) -> list[Run]:
        known = self.program.runs_of(scope)
        unknown = self.program.run(scope, grad_mode.INHERITED) if not known else None
        return [*known, unknown] if unknown is not None else known

    def _eval_call(self, scope: Body, ref: ir.Ref) -> ir.Call | None:
        """The call of ``eval`` in ``make().to(device).eval()``, if that is what a temporary is."""
        makers = self.tracer.definitions(scope).makers
        while isinstance(call := makers.get(ref), ir.Call) and isinstance(method := makers.get(call.func), ir.Attr):
            if method.name == "eval":
                return call
            if method.name not in CHAIN:
                return None
            ref = method.obj
        return None
