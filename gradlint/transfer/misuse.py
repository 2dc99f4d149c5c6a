"""Grad-mode contexts that are made and not used as contexts, or given what they do not take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gradlint.domains.values import (
    CONTAINER,
    PARAMETER,
    SCALAR,
    TENSOR,
    WRAPPER,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Obj,
    Tuple,
    Value,
)
from gradlint.facts import ContextMisuse
from gradlint.ir import events as ir
from gradlint.torch_model import grad_contexts, idle_contexts

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.transfer.interpreter import Interpreter

NUMBERS = frozenset(f"builtins.{name}" for name in "len int float str repr round ord id hash".split()) | frozenset(
    f"numpy.{name}" for name in "bool_ bool any all logical_not logical_and logical_or".split()
)
"""Functions whose result is no bool of Python."""

ASKS = re.compile(r"(?:^|\.)(?:is_\w+|has_\w+|equal|allclose)$")
"""Operations on tensors whose result is a bool of Python."""


# -- arguments ---------------------------------------------------------------------------------------------


def check_argument(ip: Interpreter, event: ir.Call, name: str, given: Value) -> bool:
    """Note an argument that is not a bool for certain, or that the context does not take; true if it is fine."""
    if (
        not all(is_no_bool(atom, ip.state.place(atom).via) for atom in given)
        and grad_contexts()[name].mode == "argument"
    ):
        return True
    form = "argument" if grad_contexts()[name].mode == "argument" else "wraps"
    ip.recorder.note(ContextMisuse(event.span, *ip.where(), form, name, shown(ip, event, given)))
    return False


def shown(ip: Interpreter, event: ir.Call, given: Value) -> str:
    """An argument as a message shows it: the constant that it is, or how the source writes it."""
    only = next(iter(given)) if len(given) == 1 else None
    return repr(only.value) if isinstance(only, Literal) else written(ip, event)


def is_no_bool(atom: Atom, via: str) -> bool:
    """Whether an atom, which the operation ``via`` has made, is something other than True or False for certain."""
    if isinstance(atom, Literal):
        return not isinstance(atom.value, bool)
    if isinstance(atom, (Fn, Cls, Tuple)):
        return True
    if not isinstance(atom, Obj):
        return False
    if atom.type == SCALAR:
        return via in NUMBERS
    asks = isinstance(atom.event, ir.Compare) or ASKS.search(via) is not None
    return atom.type in (CONTAINER, PARAMETER) or (atom.type == TENSOR and not asks)


def written(ip: Interpreter, event: ir.Call) -> str:
    """How the source writes the first argument of a call, as far as it has a name."""
    refs = [*event.args, *(ref for _, ref in event.keywords)]
    return ip.labels[refs[0]] or "..." if refs else ""


# -- entering ----------------------------------------------------------------------------------------------


def entered(ip: Interpreter, event: Any, atom: Atom) -> bool:
    """Note the attempt to enter a context's class, or a function that a context wraps; true if it is one."""
    if isinstance(atom, Api) and atom.name in grad_contexts():
        ip.recorder.note(ContextMisuse(event.span, *ip.where(), "uncalled", atom.name))
        return True
    if isinstance(atom, Obj) and atom.type == WRAPPER:
        ip.recorder.note(ContextMisuse(atom.span, *ip.where(), "wraps", *made_by(ip, atom)))
        return True
    return False


# -- not entering ------------------------------------------------------------------------------------------


def discarded(ip: Interpreter, e: ir.Discard) -> None:
    """Note an expression statement whose value is a context: nothing was entered."""
    pending = list(ip.value(e.src))
    while pending:
        atom = pending.pop()
        if isinstance(atom, Tuple):
            pending.extend(part for item in atom.items for part in item)
        elif isinstance(atom, Obj) and is_idle(ip, atom) and ir.is_within(atom.span, e.span):
            form = "wraps" if atom.type == WRAPPER else "discarded"
            ip.recorder.note(ContextMisuse(atom.span, *ip.where(), form, *made_by(ip, atom)))


def is_idle(ip: Interpreter, atom: Obj) -> bool:
    """Whether an object changes nothing until it is entered or called, and was neither so far."""
    if isinstance(atom, Context):
        return not grad_contexts()[atom.type].on_call and atom not in ip.program.used_contexts
    return atom.type == WRAPPER or atom.type in idle_contexts()


def made_by(ip: Interpreter, atom: Obj) -> tuple[str, str]:
    """The name of the context that made an object, and how the source writes its argument."""
    if atom.type != WRAPPER:
        return atom.type, ""
    event = atom.event
    return ip.program.wrapping[atom].type, written(ip, event) if isinstance(event, ir.Call) else ""


def passed_over(ip: Interpreter, e: ir.Assume) -> None:
    """Note ``no_grad() and other()``: the truth of a context is asked, and the context itself is dropped."""
    if not e.truth or any(isinstance(event, ir.Copy) and event.src == e.cond for event in ip.block.events):
        return
    for atom in ip.value(e.cond):
        if isinstance(atom, Context) and is_made_at(ip, atom, e.cond) and not grad_contexts()[atom.type].on_call:
            ip.recorder.note(ContextMisuse(atom.span, *ip.where(), "short-circuit", atom.type))


def stored(ip: Interpreter, e: ir.Store) -> None:
    """Note ``guard = no_grad()`` in a function that never reads ``guard``."""
    if ip.body.kind != "function" or e.name not in ip.body.locals:
        return
    for atom in ip.value(e.src):
        if not isinstance(atom, Context) or not is_made_at(ip, atom, e.src) or grad_contexts()[atom.type].on_call:
            continue
        if not any(is_read(body, e.name) for body in ip.body.inside()):
            ip.recorder.note(ContextMisuse(atom.span, *ip.where(), "unused", atom.type))


def is_made_at(ip: Interpreter, context: Context, ref: ir.Ref) -> bool:
    """Whether the temporary ``ref`` is the very call that made ``context``."""
    event = context.event
    return ref >= 0 and ip.spans[ref] == event.span and isinstance(event, ir.Call) and event.dst == ref


def is_read(body: Body, name: str) -> bool:
    """Whether a body reads the variable ``name``."""
    events = body.graph.events()
    return any(isinstance(event, ir.Load) and event.name == name for event in events)
