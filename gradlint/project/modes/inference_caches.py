"""Tensors that a module computes when it is first called and keeps: that call decides in which mode (facts: GM43)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Literal, Obj, Value
from gradlint.facts import Forward
from gradlint.facts.modes import EscapedTensor
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values.uses import owner_of

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer


class Cache(NamedTuple):
    """An attribute that ``forward`` fills once, the operation there that keeps it for backward, and where it is set."""

    attribute: str
    op: str
    span: Span


def escaped(program: Program, tracer: Tracer, run: Run) -> Iterator[EscapedTensor]:
    """Yield the forwards for training of one body whose module has filled a cache in inference mode, one per module."""
    forwards = [one for one in run.recorder.all(Forward) if len(one.module.atoms) == 1 and not one.through]
    seen = set[Atom]()
    for later in forwards if any(one.modes.inference for one in forwards) else ():
        (module,) = later.module.atoms
        first = next(one for one in forwards if one.module.atoms == later.module.atoms)
        in_front = first.modes.inference and set(first.loops) <= set(later.loops)
        if module in seen or not later.modes.records or not in_front:
            continue
        cache = cache_of(program, tracer, module)
        if cache is not None:
            seen.add(module)
            since = first.modes.since.get(grad_mode.INFERENCE)
            because = ((first.span, "first called in inference mode here"), (cache.span, "computed and kept here"))
            name = f"{later.module.name}.{cache.attribute}"
            yield EscapedTensor(later.span, name, "saved", cache.op, since, because)


def cache_of(program: Program, tracer: Tracer, module: Atom) -> Cache | None:
    """What the ``forward`` of a module of the file keeps that a later forward saves for its backward."""
    cls = module.cls if isinstance(module, Obj) else None
    forward = classes.own_function(program, cls, "forward") if cls is not None else None
    run = program.run(forward.body, grad_mode.INHERITED) if forward is not None else None
    if forward is None or run is None or not run.complete or program.stubs.data(forward.body) is not None:
        return None
    definitions = tracer.definitions(forward.body)
    for event in definitions.events(ir.SetAttr):
        if owner_of(tracer, forward.body, event.obj) is None or not is_filled_once(definitions, run, event):
            continue
        stored = [atom for atom in run.temps[event.src] if atom in run.places]
        roots = {root for atom in stored for root in run.places[atom].roots or (atom,)} & run.places.keys()
        saved = [one for root in roots for one in run.places[root].saved if one.role == "input"]
        if saved:
            return Cache(event.name, min(saved, key=lambda one: one.span).op, event.span)
    return None


def is_filled_once(definitions: Definitions, run: Run, event: ir.SetAttr) -> bool:
    """Whether an attribute is set only where it is None, or is not there."""
    first = definitions.blocks[event].events[0]
    if not isinstance(first, ir.Assume):
        return False
    asked, truth = definitions.makers.get(first.cond), first.truth
    if isinstance(asked, ir.Unary) and asked.op == "not":
        asked, truth = definitions.makers.get(asked.src), not truth
    if isinstance(asked, ir.Call):
        return not truth and asks_for(run, asked, event.name)
    if not truth or not isinstance(asked, ir.Compare) or asked.op not in ("is", "=="):
        return False
    read = definitions.makers.get(asked.left)
    none = run.temps[asked.right]
    is_none = bool(none) and all(isinstance(atom, Literal) and atom.value is None for atom in none)
    return is_none and isinstance(read, ir.Attr) and read.name == event.name


def asks_for(run: Run, call: ir.Call, attribute: str) -> bool:
    """Whether a call is ``hasattr(self, "attribute")``."""
    callee: Value = run.temps[call.func] if call.func >= 0 else frozenset()
    name: Value = run.temps[call.args[1]] if len(call.args) == 2 else frozenset()
    named = {atom.value if isinstance(atom, Literal) else None for atom in name} == {attribute}
    return named and {atom.name if isinstance(atom, Api) else "" for atom in callee} == {"builtins.hasattr"}
