"""Leaves that one function marks, another moves and hands out, and a third reads the gradient of (facts: RG05, RG26).

The flag is set before the tensor is moved, so that what is handed out is no leaf: on another device its gradient is
None, where there is nothing to move all is well, and nobody notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Fn
from gradlint.facts import Backward
from gradlint.facts.leaves import NoLeaf
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

MOVES = frozenset("to cuda double half bfloat16 clone".split())
"""Methods that return another tensor than the one they are called on, if not always."""
MARKS = frozenset("requires_grad requires_grad_ retain_grad".split())
DEEPEST = 3


class Variable(NamedTuple):
    """A variable of a body, as one assignment left it."""

    body: Body
    store: ir.Store


def handed_out(tracer: Tracer, run: Run) -> Iterator[NoLeaf]:
    """The gradients that a body reads of what other functions of the file have marked and then moved."""
    known = tracer.definitions(run.body)
    passes = run.recorder.all(Backward)
    seen: set[str] = set()
    for read in known.attributes if passes else ():
        load = known.makers.get(read.obj)
        if read.name != "grad" or not isinstance(load, ir.Load) or load.name in seen:
            continue
        store = known.only(load)
        if store is None or not any(one.span < read.span or one.loops for one in passes) or _is_compared(known, read):
            continue
        held = Variable(run.body, store)
        for moved, flag in _moved(tracer, held, 0) if not _is_marked(tracer, held) else ():
            seen.add(load.name)
            because = ((flag, "made to require grad here"), (moved, "moved here, which makes another tensor"))
            yield NoLeaf(read.span, load.name, optimized=False, because=because, made=moved, how=load.name)
            break


def _is_compared(known: Definitions, read: ir.Attr) -> bool:
    readers = known.readers.get(read.dst, ())
    return bool(readers) and all(isinstance(reader, ir.Compare) for reader in readers)


def _moved(tracer: Tracer, held: Variable, depth: int) -> Iterator[tuple[ir.Span, ir.Span]]:
    """Where what a variable holds was moved, and where it had been marked before."""
    for inner in _returned(tracer, held) if depth < DEEPEST else ():
        if _is_marked(tracer, inner):
            continue
        call = tracer.definitions(inner.body).makers.get(inner.store.src)
        source = _receiver(tracer, inner.body, call)
        flag = _flag(tracer, inner.body, source, 0) if source is not None else None
        if flag is not None and isinstance(call, ir.Call):
            yield call.span, flag
        else:
            yield from _moved(tracer, inner, depth + 1)


def _receiver(tracer: Tracer, body: Body, call: ir.Event | None) -> ir.Ref | None:
    """What a call moves; None if it does something else."""
    known = tracer.definitions(body)
    method = known.makers.get(call.func) if isinstance(call, ir.Call) else None
    if not isinstance(call, ir.Call) or not isinstance(method, ir.Attr) or method.name not in MOVES:
        return None
    only = known.makers.get(call.args[0]) if len(call.args) == 1 else None
    stays = method.name == "to" and isinstance(only, ir.Const) and only.value == "cpu"
    return None if stays else method.obj


def _flag(tracer: Tracer, body: Body, ref: ir.Ref, depth: int) -> ir.Span | None:
    """Where ``requires_grad`` was set on what ``ref`` reads, here or in the function that it comes from."""
    known = tracer.definitions(body)
    load = known.makers.get(ref)
    for store in known.assigning(load) if isinstance(load, ir.Load) else ():
        held = Variable(body, store)
        spans = [span for span in _marks(tracer, held) if isinstance(load, ir.Load) and span < load.span]
        if spans:
            return spans[0]
        for inner in _returned(tracer, held) if depth < DEEPEST else ():
            found = _marks(tracer, inner)
            if found:
                return found[0]
    return None


def _is_marked(tracer: Tracer, held: Variable) -> bool:
    """Whether something is done to the tensor itself that gives it a gradient."""
    known = tracer.definitions(held.body)
    loads = {load.dst for load in known.loads.get(held.store, ())}
    touched: list[ir.Attr | ir.SetAttr] = [*known.events(ir.Attr), *known.events(ir.SetAttr)]
    return any(event.name in MARKS and event.obj in loads for event in touched)


def _marks(tracer: Tracer, held: Variable) -> list[ir.Span]:
    """Where ``requires_grad`` of a variable is set to True."""
    known = tracer.definitions(held.body)
    loads = {load.dst for load in known.loads.get(held.store, ())}
    found = []
    for write in known.events(ir.SetAttr):
        value = known.makers.get(write.src)
        if write.name == "requires_grad" and write.obj in loads and isinstance(value, ir.Const) and value.value is True:
            found.append(write.span)
    for call in known.events(ir.Call):
        method = known.makers.get(call.func)
        if isinstance(method, ir.Attr) and method.name == "requires_grad_" and method.obj in loads and not call.args:
            found.append(call.span)
    return sorted(found)


def _returned(tracer: Tracer, held: Variable) -> Iterator[Variable]:
    """The variables of functions of the file that a variable was given by a call."""
    known = tracer.definitions(held.body)
    maker = known.makers.get(held.store.src)
    index = maker.index if isinstance(maker, ir.Unpack) else None
    if isinstance(maker, ir.Unpack):
        if index is None:
            return
        maker = known.makers.get(maker.src)
    callees = tracer.value(held.body, maker.func) if isinstance(maker, ir.Call) else frozenset()
    if len(callees) != 1:
        return
    (callee,) = callees
    if not isinstance(callee, Fn) or callee.body.is_generator or callee.body is held.body:
        return
    inner = tracer.definitions(callee.body)
    for event in inner.events(ir.Return):
        made = inner.makers.get(event.src) if event.src is not None else None
        if index is not None:
            whole = isinstance(made, ir.Build) and made.kind == "tuple" and not made.starred and index < len(made.items)
            made = inner.makers.get(made.items[index]) if whole and isinstance(made, ir.Build) else None
        for store in inner.assigning(made) if isinstance(made, ir.Load) else ():
            yield Variable(callee.body, store)
