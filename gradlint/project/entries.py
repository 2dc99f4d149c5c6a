"""In which grad modes each body of a file is entered: the modes of its known callers, or of an unknown one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.project import classes
from gradlint.project.summaries import inside

if TYPE_CHECKING:
    from gradlint.domains.values import Fn
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program


FUNCTION_CONTEXT = re.compile(r"(?:^|[.\"'\s])FunctionCtx\b")
"""The annotation of the context that an autograd function hands from forward to backward."""


def first_entry(program: Program, body: Body) -> int:
    """The modes in which a body starts when nothing is known of its callers."""
    fn = program.functions.get(body)
    before = called_by_torch(program, body) or grad_mode.INHERITED
    return before if fn is None else inside(fn, before)


def called_by_torch(program: Program, body: Body) -> int:
    """The mode in which torch calls a method of an autograd function; 0 for any other body.

    A function whose first parameter is annotated as a ``FunctionCtx`` does part of the work of such a method.
    """
    parent = body.parent
    if body.parameters and FUNCTION_CONTEXT.search(body.parameters[0].annotation or ""):
        return grad_mode.OFF
    if parent is None or parent.kind != "class" or body.name not in ("forward", "backward", "setup_context", "jvp"):
        return 0
    return grad_mode.OFF if classes.is_function(program.class_of(parent)) else 0


def entry_modes(program: Program, solved: list[Body]) -> dict[Body, int]:
    """The modes in which each body of ``solved``, and each that these call, is entered.

    A call counts only for the modes in which its caller is entered itself: the smallest solution is wanted.
    """
    bodies = dict.fromkeys([*solved, *(body for body, _ in program.runs)])
    solved_for: dict[Body, int] = {}
    for body, entry in program.runs:
        solved_for[body] = solved_for.get(body, 0) | entry
    called = {fn.body for body in bodies for fn, _ in calls_from(program, body, solved_for.get(body, 0))}
    called |= {fn.body for fn, _ in callbacks(program, {})}
    entries = {body: 0 if is_known(program, body, called) else first_entry(program, body) for body in bodies}
    settle(program, entries)
    guarded = [body for body, modes in entries.items() if switched(modes)]
    unseen = [body for body in guarded if is_called_out_of_sight(program, body, bodies)]
    entries |= {body: entries[body] | first_entry(program, body) for body in unseen}
    if unseen:
        settle(program, entries)
    return {body: modes or grad_mode.INHERITED for body, modes in entries.items()}


def settle(program: Program, entries: dict[Body, int]) -> None:
    """Add to the modes of each body those in which the others call it, until that adds nothing."""
    changed = True
    while changed:
        changed = False
        calls = [call for body, modes in list(entries.items()) for call in calls_from(program, body, modes)]
        for fn, modes in [*calls, *callbacks(program, entries)]:
            before = entries.get(fn.body, 0)
            if called_by_torch(program, fn.body) or not inside(fn, modes) & ~before:
                continue
            entries[fn.body] = before | inside(fn, modes)
            changed = True


def switched(modes: int) -> bool:
    """Whether every known caller has switched the mode."""
    return bool(modes) and not modes & grad_mode.INHERITED


def is_called_out_of_sight(program: Program, body: Body, solved: Collection[Body]) -> bool:
    """Whether a function of the file that was not solved calls ``body``, as far as the name tells."""
    for line, lowered in program.module.calls(body.name) if body.kind == "function" else ():
        caller = program.module
        while inner := next((child for child in caller.children if child.span[0] <= line <= child.span[2]), None):
            caller = inner
        if caller not in solved or not lowered:
            return True
    return False


def calls_from(program: Program, body: Body, entry: int) -> Iterator[tuple[Fn, int]]:
    """The functions of the file that a body calls when it is entered in the modes ``entry``, each with its modes."""
    for mode in grad_mode.each(entry):
        run = program.run(body, grad_mode.INHERITED if mode == grad_mode.ON else mode)
        if run is not None:
            for call in run.recorder.local_calls():
                yield call.fn, grad_mode.resolve(call.modes, mode)


def callbacks(program: Program, entries: dict[Body, int]) -> Iterator[tuple[Fn, int]]:
    """The functions that are passed to a parameter, with the modes in which the parameter is called."""
    for scope, name, modes in program.callbacks:
        for fn in program.bindings.get((scope, name), ()):
            yield fn, grad_mode.resolve(modes, entries.get(scope, grad_mode.INHERITED))


def is_known(program: Program, body: Body, called: set[Body]) -> bool:
    """Whether all callers of a body are in sight."""
    if body not in called or body in program.escapes or called_by_torch(program, body):
        return False
    if body.parent is None or body.parent.kind != "class":
        return True
    if body.name in ("__init__", "__call__", "__enter__", "__exit__"):
        return True
    return body.name not in classes.HOOKS and not (body.name.startswith("__") and body.name.endswith("__"))
