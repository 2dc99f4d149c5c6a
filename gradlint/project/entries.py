"""In which grad modes each body of a file is entered: the modes of its known callers, or of an unknown one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.facts import Elsewhere
from gradlint.ir import events as ir
from gradlint.project import contracts
from gradlint.project.summaries import inside

if TYPE_CHECKING:
    from gradlint.domains.values import Fn
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.linking.interface import Caller
    from gradlint.project.program import Program


UNGUARDED = "with nothing around it that turns gradients off"
"""How a caller is described who leaves gradients on."""


def first_entry(program: Program, body: Body) -> int:
    """The modes in which a body starts when nothing is known of its callers.

    Who turns gradients on wants a graph; a framework that has them on wants none in particular.
    """
    fn = program.functions.get(body)
    before = grad_mode.unsaid(contracts.modes(program, body)) or grad_mode.INHERITED
    return before if fn is None else inside(fn, before)


def entry_modes(program: Program, solved: list[Body]) -> dict[Body, int]:
    """The modes in which each body of ``solved``, and each that these call, is entered.

    A call counts only for the modes in which its caller is entered itself: the smallest solution is wanted. Who may
    be called by somebody, as far as a name tells, may be called by anybody else.
    """
    bodies = dict.fromkeys([*solved, *(body for body, _ in program.runs)])
    solved_for: dict[Body, int] = {}
    for body, entry in program.runs:
        solved_for[body] = solved_for.get(body, 0) | entry
    called = {fn.body for body in bodies for fn, _ in calls_from(program, body, solved_for.get(body, 0))}
    called |= {fn.body for fn, _ in callbacks(program, {})}
    called |= {body for body in bodies if any(caller.sure for caller in callers_elsewhere(program, body))}
    entries = {body: 0 if is_known(program, body, called) else first_entry(program, body) for body in bodies}
    for body in bodies:
        for caller in callers_elsewhere(program, body):
            if caller.sure or grad_mode.never_records(caller.modes):
                entries[body] |= entered_in(program, body, caller.modes)
    settle(program, entries)
    while from_outside := entered_from_outside(program, entries):
        entries |= {body: first_entry(program, body) for body in from_outside}
        settle(program, entries)
    guarded = [body for body, modes in entries.items() if switched(modes) and not program.stubs.is_stub(body)]
    unknown = [body for body in guarded if not callers_elsewhere(program, body)]
    unseen = [body for body in unknown if is_called_out_of_sight(program, body, bodies)]
    entries |= {body: entries[body] | first_entry(program, body) for body in unseen}
    if unseen:
        settle(program, entries)
    return {body: modes or grad_mode.INHERITED for body, modes in entries.items()}


def callers_elsewhere(program: Program, body: Body) -> tuple[Caller, ...]:
    """The callers of ``body`` in other files, and those in this one that were not analysed."""
    return program.stubs.callers(body)


def entered_in(program: Program, body: Body, modes: int) -> int:
    """The modes in which ``body`` starts that is called in ``modes``."""
    fn = program.functions.get(body)
    return modes if fn is None else inside(fn, modes)


def settle(program: Program, entries: dict[Body, int]) -> None:
    """Add to the modes of each body those in which the others call it, until that adds nothing."""
    changed = True
    while changed:
        changed = False
        calls = [call for body, modes in list(entries.items()) for call in calls_from(program, body, modes)]
        for fn, modes in [*calls, *callbacks(program, entries)]:
            before = entries.get(fn.body, 0)
            if not inside(fn, modes) & ~before:
                continue
            entries[fn.body] = before | inside(fn, modes)
            changed = True


def entered_from_outside(program: Program, entries: Mapping[Body, int]) -> list[Body]:
    """Of the bodies that only call each other, those that lead to all others: somebody out of sight calls one of them.

    Those whose name a function calls that was not solved, if there are such.
    """
    waiting = {body for body, modes in entries.items() if not modes}
    callers: dict[Body, set[Body]] = {body: set() for body in waiting}
    for caller, callee, _, _ in edges(program):
        if caller in waiting and callee in waiting:
            callers[callee].add(caller)
    before = {body: leading_to(body, callers) for body in waiting}
    first = [body for body in entries if body in waiting and all(body in before[other] for other in before[body])]
    return [body for body in first if is_called_out_of_sight(program, body, entries)] or first


def leading_to(body: Body, callers: Mapping[Body, Collection[Body]]) -> set[Body]:
    """The bodies from which calls lead to ``body``."""
    found: set[Body] = set()
    pending = [body]
    while pending:
        further = {*callers[pending.pop()]} - found
        found |= further
        pending += further
    return found


def switched(modes: int) -> bool:
    """Whether every known caller has switched the mode."""
    return bool(modes) and not modes & grad_mode.INHERITED


def is_called_out_of_sight(program: Program, body: Body, solved: Collection[Body]) -> bool:
    """Whether a function of the file that was not solved calls ``body``, as far as the name tells."""
    for line, column, lowered in program.module.calls(body.name) if body.kind == "function" else ():
        caller, place = program.module, (line, column, line, column)
        # A lambda that is handed over in the call stands on its line, and does not call.
        while inner := next((child for child in caller.children if ir.is_within(place, child.span)), None):
            caller = inner
        if caller not in solved or not lowered:
            return True
    return False


def is_left_to_others(program: Program, body: Body) -> bool:
    """Whether nobody in sight calls ``reset_parameters`` of a module, which torch calls with gradients off.

    FSDP does so for what was made on the meta device (torch/distributed/fsdp/_init_utils.py).
    """
    by_name = body.name == "reset_parameters" and body.parent is not None and body.parent.kind == "class"
    return by_name and not any(program.module.calls(body.name)) and not callers_elsewhere(program, body)


def calls_from(program: Program, body: Body, entry: int) -> Iterator[tuple[Fn, int]]:
    """The functions of the file that a body calls when it is entered in the modes ``entry``, each with its modes."""
    for mode in grad_mode.each(entry):
        run = program.run(body, grad_mode.unsaid(mode))
        if run is not None:
            for call in run.recorder.local_calls():
                yield call.fn, grad_mode.resolve(call.modes, mode)


def callbacks(program: Program, entries: dict[Body, int]) -> Iterator[tuple[Fn, int]]:
    """The functions that are passed to a parameter, with the modes in which the parameter is called.

    A decorator that sets no mode calls what it decorates in that of the decorators above it.
    """
    for scope, name, modes in program.callbacks:
        for fn in program.bindings.get((scope, name), ()):
            decorated = modes == grad_mode.INHERITED and fn.body in program.decorators
            called = program.functions.get(fn.body, fn) if decorated else fn
            yield called, grad_mode.resolve(modes, entries.get(scope, grad_mode.INHERITED))


def is_known(program: Program, body: Body, called: set[Body]) -> bool:
    """Whether all callers of a body are in sight."""
    if body not in called or body in program.escapes or contracts.modes(program, body):
        return False
    if body.parent is None or body.parent.kind != "class":
        return True
    if body.name in ("__init__", "__call__", "__enter__", "__exit__"):
        return True
    return not contracts.may_be_hook(program, body) and not (body.name.startswith("__") and body.name.endswith("__"))


class Edge(NamedTuple):
    """A call between two bodies of the file; ``modes`` are those in force, relative to the caller's own."""

    caller: Body
    callee: Body
    modes: int
    span: Span


def edges(program: Program) -> list[Edge]:
    """The calls in the file of functions in it, but for those that a function makes of itself."""
    return [
        Edge(caller, call.fn.body, call.modes, call.span)
        for (caller, _), run in list(program.runs.items())
        for call in (run.recorder.local_calls() if run is not None else ())
        if call.fn.body is not caller
    ]


def recorded_modes(program: Program, entries: Mapping[Body, int]) -> dict[Body, int]:
    """By body, the modes in which it is entered and something is recorded; if there are none, those it is entered in.

    Of two callers one of whom turns gradients off the other counts, if nobody who calls him guards him either. A call
    that is guarded on some paths only, by ``set_grad_enabled(flag)``, counts as guarded: who wrote it cares.
    """
    calls = edges(program)
    called = {call.callee for call in calls}
    found = dict(entries)
    mixed = {body for body, modes in entries.items() if modes & grad_mode.RECORDS and modes & grad_mode.NO_GRAPH}
    for body in mixed:
        others = callers_elsewhere(program, body)
        unguarded = any(not other.modes & grad_mode.NO_GRAPH for other in others)
        unknown = not others and body not in called
        found[body] &= grad_mode.RECORDS if unguarded or unknown else grad_mode.NO_GRAPH
    changed = True
    while changed:
        changed = False
        for call in calls:
            if call.callee in mixed and not found[call.callee] & grad_mode.RECORDS and is_unguarded(call, found):
                found[call.callee] = entries[call.callee] & grad_mode.RECORDS
                changed = True
    return found


def is_unguarded(call: Edge, recorded: Mapping[Body, int]) -> bool:
    """Whether nothing turns gradients off around a call, nor around the callers of the caller."""
    return not grad_mode.resolve(call.modes, recorded.get(call.caller, grad_mode.INHERITED)) & grad_mode.NO_GRAPH


def called_unguarded(program: Program, recorded: Mapping[Body, int], body: Body) -> Reasons:
    """Who calls ``body`` without turning gradients off, in another file or in this one."""
    elsewhere = called_on(program, body)
    if elsewhere:
        return elsewhere
    calls = [call.span for call in edges(program) if call.callee is body and is_unguarded(call, recorded)]
    return ((calls[0], f"`{body.name}` is called here, {UNGUARDED}"),) if calls else ()


def called_off(program: Program, body: Body) -> Reasons:
    """Who calls ``body`` with gradients off: a framework, the call in this file that is next, or the path through
    others.
    """
    by_framework = contracts.called_off(program, body)
    if by_framework:
        return by_framework
    for (other, _), run in program.runs.items():
        for call in run.recorder.local_calls() if run is not None and other is not body else ():
            if call.fn.body is body and grad_mode.never_records(call.modes):
                return ((call.span, f"`{body.name}` is called here, with gradients off"),)
    for caller in callers_elsewhere(program, body):
        if grad_mode.never_records(caller.modes):
            return call_path(body, caller, "with gradients off")
    return ()


def called_on(program: Program, body: Body) -> Reasons:
    """Who in another file calls ``body`` without turning gradients off."""
    for caller in callers_elsewhere(program, body):
        if caller.sure and not grad_mode.never_records(caller.modes):
            return call_path(body, caller, UNGUARDED)
    return ()


def call_path(body: Body, caller: Caller, how: str) -> Reasons:
    """The calls that lead to ``body``, outermost first."""
    names = [body.name, *(name for _, _, name in caller.path)]
    steps = [
        (Elsewhere(path, place), f"`{called.rpartition('.')[2]}` is called here" + (f", {how}" if not index else ""))
        for index, ((path, place, _), called) in enumerate(zip(caller.path, names, strict=False))
    ]
    return tuple(reversed(steps))
