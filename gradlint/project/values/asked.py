"""With which arguments a function does something: what stands under conditions on its parameters alone.

``if learns: loss.backward()`` runs for those who ask for it. A caller that says ``learns=False``, or leaves it at that,
goes back from nothing, whatever mode it calls in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import SCALAR, TENSOR, Api, Cls, Context, Fn, Literal, Obj, Sym
from gradlint.facts.base import Asked
from gradlint.ir import events as ir
from gradlint.ir.paths import dominators_of

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Value
    from gradlint.facts import Happening
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

EQUALITIES = {"==": True, "is": True, "!=": False, "is not": False}
"""The comparisons that ask for a constant, and whether they hold if it is that."""


def of_block(program: Program, body: Body, block: int) -> tuple[Asked, ...]:
    """The conditions on parameters under which a block of a body runs."""
    key = (body, block)
    if key not in program.conditions:
        program.conditions[key] = tuple(dict.fromkeys(_above(body, block))) if block and body.parameters else ()
    return program.conditions[key]


def of_happening(program: Program, body: Body, happening: Happening) -> tuple[Asked, ...]:
    """The conditions on parameters under which something happens in a body, there or in what that calls."""
    inner: tuple[Asked, ...] = getattr(happening, "asked", ())
    return (*inner, *of_block(program, body, happening.block)) if not program.stubs.is_stub(body) else inner


def _above(body: Body, block: int) -> Iterator[Asked]:
    events = list(body.graph.events())
    makers = {dst: event for event in events if (dst := getattr(event, "dst", None)) is not None}
    written = {event.name for event in events if isinstance(event, ir.Store)}
    fixed = {parameter.name for parameter in body.parameters} - written
    for index in dominators_of(body.graph, block):
        for event in body.graph.blocks[index].events[:1]:
            found = _condition(makers, fixed, event.cond, event.truth) if isinstance(event, ir.Assume) else None
            if found is not None:
                yield found


def _condition(makers: Mapping[ir.Ref, ir.Event], fixed: set[str], ref: ir.Ref, truth: bool) -> Asked | None:
    """What a condition asks of a parameter that the body does not assign."""
    event = makers.get(ref)
    if isinstance(event, ir.Unary) and event.op == "not":
        return _condition(makers, fixed, event.src, not truth)
    if isinstance(event, ir.Load):
        return Asked(event.name, True, truth) if event.name in fixed else None
    if not isinstance(event, ir.Compare) or event.op not in EQUALITIES:
        return None
    left, right = makers.get(event.left), makers.get(event.right)
    if not isinstance(left, ir.Load) or left.name not in fixed or not isinstance(right, ir.Const):
        return None
    value = right.value
    if not isinstance(value, (bool, str)) and value is not None:
        return None
    return Asked(left.name, value, truth == EQUALITIES[event.op])


def argument(program: Program, body: Body, arguments: Mapping[str, Value], name: str) -> Value:
    """What a parameter of a function is in a call: an argument, or its default; nothing if that is not known."""
    given = arguments.get(name)
    return given if given is not None else program.defaults.get(body, {}).get(name, frozenset())


def denied(program: Program, body: Body, asked: Iterable[Asked], arguments: Mapping[str, Value]) -> bool:
    """Whether a call surely does not do what is done under some conditions."""
    return any(_holds(one, argument(program, body, arguments, one.parameter)) is False for one in asked)


def fulfilled(program: Program, body: Body, asked: Iterable[Asked], arguments: Mapping[str, Value]) -> bool:
    """Whether a call surely does it."""
    return all(_holds(one, argument(program, body, arguments, one.parameter)) for one in asked)


def _holds(asked: Asked, value: Value) -> bool | None:
    """Whether a condition holds for an argument; None if that is not known."""
    found = {_is(atom, asked.constant) for atom in value}
    known = found.pop() if len(found) == 1 else None
    return None if known is None else known == asked.holds


def _is(atom: Atom, constant: object) -> bool | None:
    """Whether a value is a constant; of True, whether it is true."""
    if isinstance(atom, Literal):
        return bool(atom.value) if constant is True else atom.value == constant
    is_thing = isinstance(atom, (Fn, Cls, Api, Context)) or (
        isinstance(atom, Obj) and (atom.cls is not None or "." in atom.type) and atom.type not in (TENSOR, SCALAR)
    )
    return constant is True if is_thing else None


def passed_on(body: Body, asked: Iterable[Asked], arguments: Mapping[str, Value]) -> tuple[Asked, ...]:
    """The conditions of a callee in terms of the parameters of its caller ``body``, where these are handed on."""
    found: list[Asked] = []
    for one in asked:
        given = arguments.get(one.parameter, frozenset())
        names = [atom.path for atom in given if isinstance(atom, Sym) and atom.scope is body and "." not in atom.path]
        found += [one._replace(parameter=name) for name in names if len(given) == 1]
    return tuple(found)


def asks_for_more(program: Program, body: Body, arguments: Mapping[str, Value]) -> bool:
    """Whether the arguments of a call surely ask a function of another file for a pass or a step that it only makes for
    those who do.
    """
    told = program.stubs.data(body)
    conditions = [tuple(Asked(*one) for one in effect.asked) for effect in (told.effects if told is not None else ())]
    return any(asked and fulfilled(program, body, asked, arguments) for asked in conditions)


def is_left_to_callers(program: Program, run: Run, happening: Happening) -> bool:
    """Whether a body that callers run with gradients off does something only for those who ask for it by an argument,
    and none of these callers surely does.
    """
    if not grad_mode.never_records(run.entry) or entered_so(program, run):
        return False
    conditions = of_happening(program, run.body, happening)
    if any(caller.asks and grad_mode.never_records(caller.modes) for caller in program.stubs.callers(run.body)):
        return False
    return bool(conditions) and not any(
        grad_mode.never_records(call.modes) and fulfilled(program, run.body, conditions, call.given)
        for other in program.runs.values()
        if other is not None
        for call in other.recorder.local_calls()
        if call.fn.body is run.body
    )


def entered_so(program: Program, run: Run) -> bool:
    """Whether a decorator of the body has set the mode that it runs in."""
    fn = program.functions.get(run.body)
    return fn is not None and bool(fn.wrappers)
