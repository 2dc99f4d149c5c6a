"""Grad modes that a body sets and that some path carries out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.state import State
from gradlint.domains.values import Obj
from gradlint.facts import Backward, Leak, Modes, ModuleMode
from gradlint.flow.solver import solve
from gradlint.ir import events as ir
from gradlint.project import solving
from gradlint.project.summaries import Run
from gradlint.project.values.definitions import Definitions
from gradlint.project.values.guards import Guards
from gradlint.transfer.interpreter import Interpreter

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

HALF = re.compile(
    r"^(?:__a?enter__|__a?exit__|on_\w+|set[uU]p\w*|tear[dD]own\w*|(?:before|after|begin|end|start|stop|enter|exit|pause|resume)(?:_\w+)?)$"
)
"""Names of methods that are one half of a pair, the other half of which sets the mode back."""
INSTEAD = {
    grad_mode.ON: "torch.enable_grad()",
    grad_mode.OFF: "torch.no_grad()",
    grad_mode.INFERENCE: "torch.inference_mode()",
}
WORDS = {grad_mode.ON: "on", grad_mode.OFF: "off", grad_mode.INFERENCE: "off"}


class Way(NamedTuple):
    """One way out of a body: in words, with the modes there, where each was set, and the place."""

    words: str
    modes: int
    since: dict[int, ir.Span]
    left: ir.Span
    raised: bool = False


def leaks(program: Program, run: Run, entry: int) -> Iterator[Leak]:
    """The modes that ``run.body``, which is entered in the modes ``entry``, leaves behind.

    Whoever passes the mode in knows what to do about it: ``set_grad_enabled(flag)`` with a flag from outside counts
    only where it undoes what a caller has set.
    """
    body = run.body
    if not run.setters or is_exempt(program, body, run):
        return
    found: set[ir.Span] = set()
    for mode in starts(program, run, entry):
        solved = program.run(body, mode)
        if solved is None or not solved.complete:
            continue
        for way in ways_out(program, solved):
            for left in grad_mode.each(way.modes & leaking(body, mode)):
                span = way.since.get(left)
                setter = run.setters.get(span) if span is not None and span not in found else None
                if span is None or setter is None or (left != grad_mode.ON and is_set_back(run, span, way)):
                    continue
                if left == grad_mode.ON or not setter.outside:
                    found.add(span)
                    yield leak(run, span, left, way)


def leaking(body: Body, entry: int) -> int:
    """The modes that must not be left behind: gradients off where they were not, or on under a caller without them."""
    if grad_mode.never_records(entry):
        return grad_mode.ON if body.kind != "module" else 0
    return grad_mode.NO_GRAPH


def starts(program: Program, run: Run, entry: int) -> Iterator[int]:
    """The modes from which to look: on, as it mostly is, and off if a caller turns gradients off around the call."""
    if not grad_mode.never_records(entry) and not is_half(program, run):
        yield grad_mode.INHERITED if run.body.kind == "module" else grad_mode.ON
    if is_called_without_gradients(program, run.body):
        yield grad_mode.OFF


def is_called_without_gradients(program: Program, body: Body) -> bool:
    """Whether a caller turns gradients off around the call, and only there."""
    calls = (call for caller in program.runs.values() if caller is not None for call in caller.recorder.local_calls())
    return any(call.fn.body is body and call.inside and grad_mode.never_records(call.modes) for call in calls)


def is_set_back(run: Run, span: ir.Span, way: Way) -> bool:
    """Whether gradients that a call has turned off are on again at the end, under the conditions of that call."""
    if way.raised:
        return False
    known = Definitions(run.body)
    back = [
        known.calls[at] for at, setter in run.setters.items() if setter.call.endswith("(True)") and at in known.calls
    ]
    return bool(back) and span in known.calls and not Guards(known).ends(known.calls[span], avoiding=back)


def leak(run: Run, span: ir.Span, mode: int, way: Way) -> Leak:
    """The finding's facts."""
    name, call, _ = run.setters[span]
    instead = INSTEAD[mode]
    if mode == grad_mode.ON and any(other.call.endswith("(False)") for other in run.setters.values()):
        instead = "torch.no_grad()"
    context = instead if call.endswith(("(False)", "(True)", "__enter__()")) else f"{name}(...)"
    words = "for the rest of the caller's block" if mode == grad_mode.ON else way.words
    return Leak(span, Modes(mode, {mode: span}), (), 0, context, call, words, way.left, WORDS[mode])


# -- ways out ----------------------------------------------------------------------------------------------


def ways_out(program: Program, run: Run) -> Iterator[Way]:
    """How a body ends: normally, and by exceptions that it raises itself; others leak only where they are caught."""
    body = run.body
    words = f"when `{body.name}` returns" if body.kind != "module" else "in every program that imports this module"
    for block, modes in sorted(run.ends.items()):
        yield Way(words, modes, run.since, last_span(run, block))
    raised = explicitly_raised(program, run)
    if raised is not None:
        spans = [event.span for event in body.graph.events() if isinstance(event, ir.Raise)]
        yield Way(f"when `{body.name or 'the module'}` raises", raised.modes, raised.since, max(spans), raised=True)


def last_span(run: Run, block: int) -> ir.Span:
    """Where a block that leads out of the body ends."""
    events = run.body.graph.blocks[block].events
    line, column = run.body.span[2:]
    return events[-1].span if events else (line, column, line, column)


def explicitly_raised(program: Program, run: Run) -> State | None:
    """The state in which ``raise`` statements leave the body, if they do."""
    body = run.body
    if not any(isinstance(event, ir.Raise) for event in body.graph.events()):
        return None
    interpreter = Interpreter(program, body, Run(body, run.entry))
    interpreter.only_explicit = True
    state = State(run.entry)
    solving.preset(program, body, state)
    solution = solve(body.graph.blocks, state, interpreter.transfer, budget=200 + 40 * len(body.graph.blocks))
    return None if solution is None else solution.before[body.graph.raised]


# -- exemptions --------------------------------------------------------------------------------------------


def is_exempt(program: Program, body: Body, run: Run) -> bool:
    """Whether a decorator restores the mode, or nothing that runs after the body needs another."""
    fn = program.functions.get(body)
    if fn is not None and fn.wrappers and not body.is_async:
        return True
    if body.kind == "module":
        return is_script(body, run)
    paths_differ = len(set(run.ends.values())) > 1
    return not paths_differ and not is_called_without_gradients(program, body) and is_main(program, body)


def is_half(program: Program, run: Run) -> bool:
    """Whether others restore what the body sets: it is half of a protocol, or its callers use it as a statement."""
    if run.body.kind == "module":
        return False
    if HALF.match(run.body.name) is not None or (only_sets(program, run) and not sets_back(run)):
        return True
    return any(begins_on(program, method) for method in siblings(run.body))


def siblings(body: Body) -> Iterator[Body]:
    """The other methods of the class that a method belongs to."""
    if body.parent is not None and body.parent.kind == "class":
        yield from (other for other in body.parent.functions() if other is not body)


def begins_on(program: Program, method: Body) -> bool:
    """Whether a method turns gradients on before anything else: then each entry of the class sets the mode it needs."""
    if not method.relevant or method.name.startswith("__"):
        return False
    run = program.run(method, grad_mode.INHERITED)
    calls = [event for event in method.graph.blocks[0].events if isinstance(event, ir.Call)]
    setter = run.setters.get(calls[0].span) if run is not None and calls else None
    return setter is not None and setter.call.endswith("(True)")


def sets_back(run: Run) -> bool:
    """Whether some path turns gradients off and on again, and another leaves them off."""
    calls = [setter.call for setter in run.setters.values()]
    return len(set(run.ends.values())) > 1 and any(each.endswith("(True)") for each in calls)


def only_sets(program: Program, run: Run) -> bool:
    """Whether a body does nothing but ask for modes and switch them."""
    asked = (atom.span for atom in program.asked if isinstance(atom, Obj))
    known = {*run.setters, *asked, *(happening.span for happening in run.recorder.all(ModuleMode))}
    calls = (event for event in run.body.graph.events() if isinstance(event, ir.Call))
    return all(call.span in known for call in calls)


def is_main(program: Program, body: Body) -> bool:
    """Whether only the top level of a script calls the function, and goes backward from nothing afterwards."""
    callers = {
        run.body
        for run in program.runs.values()
        if run is not None and any(call.fn.body is body for call in run.recorder.local_calls())
    }
    module = program.runs.get((program.module, grad_mode.INHERITED))
    if callers != {program.module} or module is None or not is_script(program.module, module):
        return False
    calls = [call.span for call in module.recorder.local_calls() if call.fn.body is body]
    loops = {
        loop.span
        for loop in program.module.graph.loops.values()
        if any(ir.is_within(span, loop.span) for span in calls)
    }
    passes = [backward.span for backward in module.recorder.all(Backward)]
    return not any(span > min(calls) or any(ir.is_within(span, loop) for loop in loops) for span in passes)


def is_script(module: Body, run: Run) -> bool:
    """Whether a module does work when it runs: it has a ``__main__`` guard, a loop, or calls for their effect."""
    if module.graph.loops:
        return True
    calls: dict[ir.Ref, ir.Span] = {}
    for event in module.graph.events():
        if isinstance(event, ir.Load) and event.name == "__name__":
            return True
        if isinstance(event, ir.Call):
            calls[event.dst] = event.span
        if isinstance(event, ir.Discard) and event.src in calls and calls[event.src] not in run.setters:
            return True
    return False
