"""Gradient-mode contexts given a parameter for which a call in sight hands in what is no bool (facts: GM12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.tensor import UNPLACED
from gradlint.domains.values import Api, Atom, Fn, Literal, Sym, Value
from gradlint.facts import ContextMisuse, Modes
from gradlint.ir import events as ir
from gradlint.torch_model import grad_contexts
from gradlint.transfer.misuse import is_no_bool

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Ref, Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def handed(program: Program, tracer: Tracer, run: Run) -> Iterator[ContextMisuse]:
    """Yield the contexts in one body that a caller of it makes raise, each with the first call that does."""
    for call, context, name in given(run):
        found = min(wrong(program, tracer, run.body, name), default=None)
        if found is not None:
            place, shown = found
            block = tracer.definitions(run.body).blocks[call]
            because = ((place, f"`{name}` is {shown} here"),)
            modes = Modes(tracer.modes(run.body, call), {})
            yield ContextMisuse(call.span, modes, block.loops, block.index, "handed", context, name, because)


def given(run: Run) -> Iterator[tuple[ir.Call, str, str]]:
    """The contexts on every path through a body that are given a parameter of it: the call, its name, and which."""
    names = {parameter.name for parameter in run.body.parameters if parameter.kind in ("positional", "keyword")}
    always: set[int] | None = None
    for block in run.body.graph.blocks if names else ():
        for event in block.events:
            if not isinstance(event, ir.Call) or event.func < 0 or len(event.args) + len(event.keywords) != 1:
                continue
            called = [atom.name for atom in run.temps[event.func] if isinstance(atom, Api)]
            known = grad_contexts().get(called[0]) if len(run.temps[event.func]) == len(called) == 1 else None
            if known is None or not known.on_call:  # the others take a function to decorate as well
                continue
            mode = run.temps[[*event.args, *(ref for _, ref in event.keywords)][0]]
            always = run.unconditional() if always is None else always
            for atom in mode if len(mode) == 1 and block.index in always else ():
                if isinstance(atom, Sym) and atom.scope is run.body and atom.path in names:
                    yield event, called[0], atom.path


def wrong(program: Program, tracer: Tracer, body: Body, name: str) -> Iterator[tuple[Span, str]]:
    """The calls in the file that hand in no bool for the parameter ``name``, and what they hand in."""
    for (caller, _), run in list(program.runs.items()):
        if run is None or not run.complete or program.stubs.is_stub(caller):
            continue
        for call in tracer.definitions(caller).events(ir.Call):
            callees = run.temps[call.func] if call.func >= 0 else frozenset[Atom]()
            if call.starred or len(callees) != 1 or any(keyword is None for keyword, _ in call.keywords):
                continue
            (callee,) = callees
            if not isinstance(callee, Fn) or callee.body is not body:
                continue
            ref = argument(call, callee, name)
            values = [program.defaults.get(body, {}).get(name, frozenset())] if ref is None else each(tracer, run, ref)
            shown = next((shown for value in values if (shown := described(run, value))), "")
            if shown:
                yield call.span, shown


def argument(call: ir.Call, callee: Fn, name: str) -> Ref | None:
    """The temporary that a call hands in for the parameter ``name``; None if it leaves that to its default."""
    for keyword, ref in call.keywords:
        if keyword == name:
            return ref
    names = [parameter.name for parameter in callee.body.parameters if parameter.kind == "positional"]
    position = names.index(name) - (callee.receiver is not None) if name in names else len(call.args)
    return call.args[position] if 0 <= position < len(call.args) else None


def each(tracer: Tracer, run: Run, ref: Ref) -> list[Value]:
    """What a temporary is for certain, sooner or later: of the variable of a loop over a literal, all that is in it."""
    maker = tracer.definitions(run.body).makers.get(ref)
    if isinstance(maker, ir.Load):
        scope: Body = run.body
        while maker.name not in scope.locals and scope.parent is not None:
            scope = scope.parent
        known = tracer.definitions(scope)
        stores = known.stores.get(maker.name, ())
        item = known.makers.get(stores[0].src) if len(stores) == 1 else None
        iterator = known.makers.get(item.iterator) if isinstance(item, ir.Next) else None
        whole = known.makers.get(iterator.src) if isinstance(iterator, ir.Iterate) else None
        if isinstance(whole, ir.Build) and whole.kind in ("tuple", "list") and not whole.starred:
            return [tracer.value(scope, part) for part in whole.items]
    return [run.temps[ref]] if ref >= 0 else []


def described(run: Run, value: Value) -> str:
    """What is no bool for certain, in words; empty if it may be one."""
    if not value or not all(is_no_bool(atom, run.places.get(atom, UNPLACED).via) for atom in value):
        return ""
    only = next(iter(value))
    return f"`{only.value!r}`" if len(value) == 1 and isinstance(only, Literal) else "no bool"
