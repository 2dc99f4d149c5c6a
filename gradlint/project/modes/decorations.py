"""Grad-mode decorators that miss the code of what they decorate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Atom, Cls, Fn
from gradlint.facts import Decoration, Forward, ModuleMode
from gradlint.ir import events as ir
from gradlint.transfer.recorder import Wrapping

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

DESCRIPTORS = frozenset(
    ["builtins.staticmethod", "builtins.classmethod", "builtins.property", "functools.cached_property"]
)


def ineffective(program: Program, run: Run) -> Iterator[Decoration]:
    """The grad-mode decorators in one body that do not cover what they stand above."""
    for wrapping in run.recorder.all(Wrapping):
        wrapped, context = wrapping.wrapped, wrapping.context
        span, name = wrapping.span, context.type if context is not None else ""
        problem = problem_of(program, wrapped) if context is not None else ""
        if context is None and isinstance(wrapped, Fn) and covers_nothing(program, wrapping.mark, wrapped):
            problem, name, span = "context manager", wrapped.wrappers[-1].type, wrapped.wrappers[-1].span
        if problem:
            yield Decoration(span, wrapping.modes, wrapping.loops, wrapping.block, name, problem, wrapped.label)


def problem_of(program: Program, wrapped: Fn | Cls) -> str:
    """Why a context that decorates ``wrapped`` does not cover its code; empty if it does."""
    if isinstance(wrapped, Cls):
        return "class"
    if any(mark.endswith("contextmanager") for mark in wrapped.marks):
        return "context manager"
    if DESCRIPTORS & set(wrapped.marks):
        return "descriptor"
    if wrapped.body.is_async:
        return "coroutine"
    return "lazy" if not wrapped.body.is_generator and is_lazy(program, wrapped.body) else ""


def covers_nothing(program: Program, mark: str, wrapped: Fn) -> bool:
    """Whether a context between ``contextmanager`` and a function stands around no work but a ``yield``."""
    if not mark.endswith("contextmanager") or not wrapped.wrappers or wrapped.body.is_async:
        return False
    run = known_run(program, wrapped.body)
    if run is None:
        return False
    idle = {happening.span for happening in run.recorder.all(ModuleMode)}
    events = wrapped.body.graph.events()
    work = (event for event in events if isinstance(event, (ir.Call, ir.Augment, ir.Binary, ir.SetItem)))
    return all(event.span in idle for event in work)


def is_lazy(program: Program, body: Body) -> bool:
    """Whether a function leaves all forwards to what it returns, which runs after its decorators are done."""
    run = known_run(program, body)
    if run is None or run.recorder.all(Forward):
        return False
    returned = (atom for group in run.returned.values() for one in group for atom in one.value)
    return any(runs_later(program, body, atom) for atom in returned)


def runs_later(program: Program, body: Body, atom: Atom) -> bool:
    """Whether ``atom``, which ``body`` returns, is code made there that runs a module with gradients on."""
    if atom in program.mapped:
        return any(program.is_module(function) for function in program.mapped[atom])
    if not isinstance(atom, Fn) or atom.wrappers or atom.body.parent is not body:
        return False
    run = program.run(atom.body, grad_mode.INHERITED)
    return run is not None and any(forward.modes.bits & grad_mode.RECORDS for forward in run.recorder.all(Forward))


def known_run(program: Program, body: Body) -> Run | None:
    """A run of ``body``, in the mode of an unknown caller if there is none yet."""
    known = next((run for run in program.runs_of(body) if run.complete), None)
    return known or program.run(body, grad_mode.INHERITED)
