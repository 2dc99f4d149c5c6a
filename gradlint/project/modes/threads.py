"""Threads that are started with gradients off: the mode belongs to a thread, and a new one begins with gradients on.

A forked process inherits the mode (facts: GM20).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Fn, Literal, Obj, Sym
from gradlint.facts import Backward, Forward
from gradlint.facts.modes import ThreadJob
from gradlint.ir import events as ir
from gradlint.project.modes.lazy import reads_tracked, since, switches
from gradlint.torch_model import mode_queries

if TYPE_CHECKING:
    from gradlint.ir.events import Ref, Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

THREADS = frozenset(("threading.Thread", "threading.Timer"))
POOLS = frozenset(
    (
        "concurrent.futures.ThreadPoolExecutor",
        "concurrent.futures.thread.ThreadPoolExecutor",
        "multiprocessing.pool.ThreadPool",
        "multiprocessing.dummy.Pool",
    )
)
HANDS_ON = frozenset("submit map apply apply_async imap imap_unordered map_async starmap".split())
"""Methods of a pool that are given a job first."""


def jobs(program: Program, tracer: Tracer, run: Run) -> Iterator[ThreadJob]:
    """Yield the calls in one body that hand a job with a forward to a thread while gradients are off."""
    if not grad_mode.never_records(run.entry) and not switches(run):
        return
    definitions = tracer.definitions(run.body)
    for call in definitions.events(ir.Call):
        given = job_of(run, definitions, call)
        if given is None or given < 0 or not grad_mode.never_records(tracer.modes(run.body, call)):
            continue
        job = behind_partial(run, definitions, given)
        places = [runs_tracked(program, tracer, run, atom, call) for atom in run.temps[job]]
        tracked = [place for place in places if place is not None]
        if tracked and len(tracked) == len(places):
            subject = "the job runs this" if min(tracked) != call.span else "the job runs"
            because = (*since(run, tracer, call), (min(tracked), f"{subject} with gradients on"))
            written = f"{run.labels[call.func]}(...)"
            yield ThreadJob(call.span, written, run.labels[job] or "the job", min(tracked), because)


def job_of(run: Run, definitions: Definitions, call: ir.Call) -> Ref | None:
    """The temporary that holds what a call runs in another thread; None for other calls."""
    if call.func < 0 or not (call.args or call.keywords):
        return None
    names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[call.func]}
    keywords = {name: ref for name, ref in call.keywords if name is not None}
    if names and names <= THREADS:
        return keywords.get("target") or keywords.get("function") or (call.args[1] if len(call.args) > 1 else None)
    if names == {"asyncio.to_thread"}:
        return call.args[0] if call.args else None
    method = definitions.makers.get(call.func)
    if not isinstance(method, ir.Attr) or not call.args:
        return None
    if method.name == "run_in_executor" and len(call.args) > 1:
        in_thread = all(isinstance(atom, Literal) and atom.value is None for atom in run.temps[call.args[0]])
        return call.args[1] if in_thread or is_pool(run, definitions, call.args[0]) else None
    return call.args[0] if method.name in HANDS_ON and is_pool(run, definitions, method.obj) else None


def is_pool(run: Run, definitions: Definitions, ref: Ref) -> bool:
    """Whether a temporary holds a pool of threads that the body has made."""
    maker = definitions.makers.get(ref)
    while isinstance(maker, (ir.Load, ir.Enter)):
        if isinstance(maker, ir.Enter):
            maker = definitions.makers.get(maker.context)
        else:
            store = definitions.only(maker)
            maker = definitions.makers.get(store.src) if store is not None else None
    if not isinstance(maker, ir.Call) or maker.func < 0:
        return False
    names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[maker.func]}
    return bool(names) and names <= POOLS


def behind_partial(run: Run, definitions: Definitions, ref: Ref) -> Ref:
    """What a ``functools.partial`` calls; the temporary itself if it is none."""
    maker = definitions.makers.get(ref)
    if not isinstance(maker, ir.Call) or maker.func < 0 or not maker.args:
        return ref
    names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[maker.func]}
    return maker.args[0] if names == {"functools.partial"} else ref


def runs_tracked(program: Program, tracer: Tracer, run: Run, atom: Atom, call: ir.Call) -> Span | None:
    """Where a job computes on a graph if gradients are on, or asks whether they are; None if it may not, or trains."""
    if isinstance(atom, Api):
        return call.span if atom.name in mode_queries() else None
    if isinstance(atom, (Obj, Sym)):
        recording = program.is_module(atom) and program.inside_forward(atom, grad_mode.ON) & grad_mode.RECORDS
        return call.span if recording else None
    if not isinstance(atom, Fn) or atom.wrappers or atom.body.is_async:
        return None
    inside = program.run(atom.body, grad_mode.INHERITED)
    if inside is None or inside.recorder.all(Backward):
        return None
    forwards = (forward.span for forward in inside.recorder.all(Forward) if forward.modes.records)
    # A job that sets the mode asks for it in order to set it back.
    asked = queries(inside) if not inside.setters else ()
    asking = (query.span for query in asked if grad_mode.INHERITED & tracer.modes(atom.body, query))
    return next(forwards, next(asking, atom.body.name_span if reads_tracked(run, tracer, atom) else None))


def queries(run: Run) -> Iterator[ir.Call]:
    """The calls in one body that ask for the mode in force."""
    events = run.body.graph.events()
    for event in events:
        if isinstance(event, ir.Call) and event.func >= 0:
            names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[event.func]}
            if names and names <= mode_queries():
                yield event
