"""One file, from bodies to facts.

Every body that says something about gradients is solved first in the mode of an unknown caller. Then the calls
that were seen tell in which modes each body is really entered; where that is not the unknown mode, it is solved
again. A body's facts come from the mode it is entered in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gradlint.domains import grad_mode
from gradlint.domains.values import Fn
from gradlint.facts import (
    AttributeWrite,
    Backward,
    Clear,
    ContextMisuse,
    Decoration,
    Edit,
    Facts,
    Forward,
    GradFlag,
    InferenceUse,
    Keep,
    Leak,
    Step,
    Suspension,
)
from gradlint.ir.cfg import Body
from gradlint.project import classes
from gradlint.project.program import Program
from gradlint.project.summaries import Run
from gradlint.transfer import contexts

Crash = Callable[[Body, Exception], None]


def bodies(module: Body) -> Iterator[Body]:
    """All bodies of a file, outer before inner, in source order."""
    pending = [module]
    while pending:
        body = pending.pop()
        yield body
        pending.extend(reversed(body.children))


def analyse(module: Body, path: str, on_crash: Crash | None = None) -> Iterator[Facts]:
    """Yield the facts of every body of a file; a body that crashes is reported to ``on_crash`` and left out."""
    program = Program(module)
    solved = []
    for body in wanted(module):
        try:
            if body.kind != "class":
                program.run(body, first_entry(program, body))
            solved.append(body)
        except Exception as error:
            if on_crash is None:
                raise
            program.runs[(body, grad_mode.INHERITED)] = None
            on_crash(body, error)
    entries = entry_modes(program, solved)
    for body in solved:
        if body.kind == "class":
            continue
        try:
            for facts in facts_of(program, body, path, entries.get(body, grad_mode.INHERITED)):
                yield facts
        except Exception as error:
            if on_crash is None:
                raise
            on_crash(body, error)


def wanted(module: Body) -> Iterator[Body]:
    """The module and the bodies that say something about gradients themselves."""
    for body in bodies(module):
        if body is module or body.relevant:
            yield body


def first_entry(program: Program, body: Body) -> int:
    """The mode in which a body starts when nothing is known of its callers."""
    parent = body.parent
    if parent is not None and parent.kind == "class" and body.name in ("forward", "backward", "setup_context", "jvp"):
        cls = program.class_of(parent)
        if classes.is_function(program, cls):
            return grad_mode.OFF
    fn = program.functions.get(body)
    modes = grad_mode.INHERITED
    if fn is not None and not body.is_async:
        for context in reversed(fn.wrappers):
            modes = contexts.effect(context.type, context.flag, modes)
    return modes


def entry_modes(program: Program, solved: list[Body]) -> dict[Body, int]:
    """The modes in which each body is entered: those of its known callers, or of an unknown one."""
    calls: list[tuple[Body, Body, int, Fn]] = []
    for (caller, _), run in program.runs.items():
        if run is None:
            continue
        for call in run.recorder.local_calls():
            calls.append((call.fn.body, caller, call.modes, call.fn))
    called = {callee for callee, _, _, _ in calls}
    for scope, name, modes in program.callbacks:
        for fn in program.bindings.get((scope, name), ()):
            calls.append((fn.body, scope, modes, fn))
            called.add(fn.body)
    entries: dict[Body, int] = {}
    for body in solved:
        first = first_entry(program, body)
        unknown = body not in called or body in program.escapes or is_hook(body)
        entries[body] = first if unknown or first != grad_mode.INHERITED else 0
    for _ in range(len(solved) + 1):
        changed = False
        for callee, caller, modes, fn in calls:
            if callee not in entries or (first_entry(program, callee) != grad_mode.INHERITED):
                continue
            arriving = grad_mode.resolve(modes, entries.get(caller, grad_mode.INHERITED))
            if arriving & ~entries[callee]:
                entries[callee] |= arriving
                changed = True
        if not changed:
            break
    return {body: modes or grad_mode.INHERITED for body, modes in entries.items()}


def is_hook(body: Body) -> bool:
    """A method that code outside the file calls: torch, a framework, the interpreter."""
    if body.parent is None or body.parent.kind != "class":
        return False
    return body.name in classes.HOOKS or (body.name.startswith("__") and body.name.endswith("__"))


def facts_of(program: Program, body: Body, path: str, entry: int) -> Iterator[Facts]:
    """The facts of one body that is entered in the modes ``entry``."""
    run = program.run(body, entry)
    if run is None or not run.complete:
        return
    recorder = run.recorder
    yield Facts(
        body=body,
        path=path,
        entry=entry,
        guarded=grad_mode.never_records(entry),
        backwards=recorder.all(Backward),
        forwards=recorder.all(Forward),
        steps=recorder.all(Step),
        clears=recorder.all(Clear),
        misuses=recorder.all(ContextMisuse),
        leaks=recorder.all(Leak),
        suspensions=recorder.all(Suspension),
        decorations=recorder.all(Decoration),
        inference_uses=recorder.all(InferenceUse),
        flags=recorder.all(GradFlag),
        writes=recorder.all(AttributeWrite),
        edits=recorder.all(Edit),
        keeps=recorder.all(Keep),
    )
