"""Code that is made with gradients off and runs where they are on (facts: GM22).

A generator expression, `map` and a function run in the mode of who runs them, not of the block that they stand in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import PARAMETER, Api, Atom, Fn, Obj, Value
from gradlint.facts import Backward
from gradlint.facts.modes import LazyEscape
from gradlint.ir import events as ir
from gradlint.project.modes.decorations import runs_later

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

RUNS = frozenset(f"builtins.{name}" for name in "list tuple set dict sorted sum max min next any all".split())
"""Builtins that iterate over what they are given."""
PASSES_ON = frozenset(f"builtins.{name}" for name in "enumerate zip iter reversed filter".split())
"""Builtins that iterate when they are iterated over."""
COMPUTES = (ir.Binary, ir.Augment, ir.Call)
KINDS = {"genexp": "generator expression", "lambda": "lambda", "function": "function"}


def escapes(program: Program, tracer: Tracer, run: Run) -> Iterator[LazyEscape]:
    """Yield what one body makes with gradients off and runs with gradients on, in source order."""
    if grad_mode.never_records(run.entry) or not switches(run) or run.recorder.all(Backward):
        return
    definitions = tracer.definitions(run.body)
    found = []
    lazy: list[ir.MakeFunction | ir.Call] = [*definitions.events(ir.MakeFunction), *mapping(program, run, definitions)]
    for event in lazy:
        value = run.temps[event.dst]
        if not value or not grad_mode.never_records(tracer.modes(run.body, event)):
            continue
        if not all(runs_later(program, run.body, atom) or reads_tracked(run, tracer, atom) for atom in value):
            continue
        is_function = isinstance(event, ir.MakeFunction) and event.body.kind != "genexp"
        kind = KINDS.get(event.body.kind, "") if isinstance(event, ir.MakeFunction) else "`map`"
        places = list(Running(tracer, run, definitions, is_function).of(event.dst))
        late = sorted(place for place, off in places if not off)
        if kind and late and (is_function or len(late) == len(places)):
            because = (*since(run, tracer, event), (late[0], "runs from here"))
            found.append(LazyEscape(event.span, kind, because))
    yield from sorted(found, key=lambda fact: fact.span)


def switches(run: Run) -> bool:
    """Whether gradients are off somewhere in a body."""
    return any(modes & grad_mode.NO_GRAPH for known in run.recorder.modes.values() for _, modes in known)


def mapping(program: Program, run: Run, definitions: Definitions) -> Iterator[ir.Call]:
    """The calls of `map`."""
    if program.mapped:
        yield from (call for call in definitions.events(ir.Call) if run.temps[call.dst] & program.mapped.keys())


def reads_tracked(run: Run, tracer: Tracer, atom: Atom) -> bool:
    """Whether code computes with a variable of the body around it that is on the graph for certain."""
    if not isinstance(atom, Fn) or atom.wrappers or atom.body.parent is not run.body:
        return False
    known = tracer.definitions(atom.body)
    for load in known.events(ir.Load):
        if load.name not in atom.body.locals and is_tracked(run, run.env.get(load.name, frozenset())):
            computing = (event for event in known.readers.get(load.dst, ()) if isinstance(event, COMPUTES))
            if any(not grad_mode.never_records(tracer.modes(atom.body, event)) for event in computing):
                return True
    return False


def is_tracked(run: Run, value: Value) -> bool:
    """Whether a value is on the graph for certain."""
    return bool(value) and all(
        isinstance(atom, Obj)
        and run.places.get(atom, tensor.NEW_LEAF if atom.type == PARAMETER else tensor.UNPLACED).graph
        & ~tensor.ATTACHED
        == 0
        for atom in value
    )


def since(run: Run, tracer: Tracer, event: ir.Event) -> Iterator[tuple[Span, str]]:
    """Where gradients were turned off in front of an event."""
    block = tracer.definitions(run.body).blocks[event]
    for enter in tracer.definitions(run.body).enters:
        if enter.region in block.regions:
            yield enter.span, "gradients off since here"
            return


class Running:
    """Looks for the places where a lazy value runs, each with whether gradients are off there."""

    def __init__(self, tracer: Tracer, run: Run, definitions: Definitions, is_function: bool) -> None:
        self.tracer, self.run, self.definitions, self.is_function = tracer, run, definitions, is_function
        self.seen = set[int]()

    def of(self, ref: ir.Ref) -> Iterator[tuple[Span, bool]]:
        """The places where what is in a temporary runs."""
        if ref in self.seen:
            return
        self.seen.add(ref)
        for event in self.definitions.readers.get(ref, ()):
            if isinstance(event, ir.Store):
                for load in self.definitions.loads.get(event, ()):
                    yield from self.of(load.dst)
            elif self.is_function:
                if isinstance(event, ir.Call) and event.func == ref:
                    yield self.place(event)
            elif isinstance(event, ir.Return):
                yield event.span, False
            elif isinstance(event, ir.Iterate):
                yield self.place(event)
            elif isinstance(event, ir.Call) and event.func != ref:
                yield from self.given(event)

    def given(self, call: ir.Call) -> Iterator[tuple[Span, bool]]:
        """A generator is given to a call: what is not known may run it there."""
        names = {atom.name if isinstance(atom, Api) else "" for atom in self.run.temps[call.func]}
        if names <= PASSES_ON:
            yield from self.of(call.dst)
        elif names <= RUNS or grad_mode.never_records(self.tracer.modes(self.run.body, call)):
            yield self.place(call)

    def place(self, event: ir.Event) -> tuple[Span, bool]:
        """A place, and whether gradients may be off there."""
        return event.span, bool(self.tracer.modes(self.run.body, event) & grad_mode.NO_GRAPH)
