"""Context managers that set the grad mode: entering, leaving, misusing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Context, Fn, Literal, Obj, Value
from gradlint.facts import ContextMisuse, Suspension
from gradlint.ir import events as ir
from gradlint.torch_model import grad_contexts, suppressing_contexts, suppressing_methods
from gradlint.transfer import calls

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter

EFFECTS = {"off": grad_mode.turn_off, "on": grad_mode.turn_on, "inference": grad_mode.enter_inference}


def effect(name: str, flag: object, modes: int) -> int:
    """The modes behind a grad-mode context; ``flag`` is its argument (UNSET: none, anything else: not known)."""
    found = 0
    for mode in grad_contexts()[name].modes(flag):
        if mode == "on" and name == "torch.inference_mode":
            found |= grad_mode.leave_inference(modes)
        else:
            found |= EFFECTS[mode](modes)
    return found or modes


def make(ip: Interpreter, event: ir.Call, name: str, site: calls.Site) -> Value:
    """Call a grad-mode context's class: checks the argument; `set_grad_enabled` acts at once."""
    known = grad_contexts()[name]
    given = site.argument(0, known.parameter or "mode")
    flag: object = msgspec.UNSET
    if given is not None:
        flag = calls.truth(given)
        if site.starred:
            flag = None
        elif wraps(ip, event, name, given):
            return wrap(ip, event, name, msgspec.UNSET, given)
        else:
            check_argument(ip, event, name, given)
    elif known.mode == "argument" and known.default is None and not site.starred:
        ip.recorder.note(ContextMisuse(event.span, *ip.where(), "no-argument", name))
    context = ip.world.context(event, name, flag)
    if known.on_call:
        ip.program.restores[context] = ip.state.modes
        ip.state.modes = effect(name, flag, ip.state.modes)
        since(ip, event.span)
    return frozenset((context,))


def check_argument(ip: Interpreter, event: ir.Call, name: str, given: Value) -> None:
    """A constant argument that is not a bool, or any argument of a context that takes none."""
    wrong = [atom for atom in given if isinstance(atom, Literal) and not isinstance(atom.value, bool)]
    if len(wrong) == len(given):
        shown = repr(wrong[0].value) if isinstance(wrong[0], Literal) else ""
        ip.recorder.note(ContextMisuse(event.span, *ip.where(), "argument", name, shown))
    elif grad_contexts()[name].mode != "argument":
        ip.recorder.note(ContextMisuse(event.span, *ip.where(), "wraps", name, ip.labels[event.args[0]] if event.args else ""))


def wraps(ip: Interpreter, event: ir.Call, name: str, given: Value) -> bool:
    """``torch.no_grad(function)`` decorates; it does so with anything callable."""
    return grad_contexts()[name].on_call is False and any(isinstance(atom, (Fn, Api)) for atom in given)


def wrap(ip: Interpreter, event: ir.Call, name: str, flag: object, function: Value) -> Value:
    """A function decorated with the context ``name``."""
    context = ip.world.context(event, name, flag)
    return decorate(ip, context, function)


def decorate(ip: Interpreter, context: Context, function: Value) -> Value:
    """``context(function)``."""
    restored = ip.program.restores.get(context)
    if restored is not None:
        ip.state.modes = restored
    found: set[Atom] = set()
    for atom in function:
        if isinstance(atom, Fn):
            ip.program.decorated(atom.body, context)
            found.add(ip.world.fn(atom.body, atom.receiver, (*atom.wrappers, context), atom.marks))
        else:
            found.add(atom)
    return frozenset(found)


def since(ip: Interpreter, span: ir.Span) -> None:
    """Remember where the mode now in force was set."""
    ip.state.since = {mode: span for mode in grad_mode.each(ip.state.modes) if mode != grad_mode.INHERITED}


def enter(ip: Interpreter, e: ir.Enter) -> None:
    """Enter a with-item."""
    context = ip.value(e.context)
    before = ip.state.modes
    after = held = 0
    for atom in context:
        modes, restores = entered(ip, e, atom, before)
        after |= modes
        held |= restores
    ip.regions[e.region] = (context, e.span)
    if held:
        ip.state.held[e.region] = held
    else:
        ip.state.held.pop(e.region, None)
    if after != before or any(isinstance(atom, Context) for atom in context):
        ip.state.modes = after
        since(ip, e.span)
    ip.program.entered(context)
    ip.set(e, bound(ip, e, context), "")


def entered(ip: Interpreter, e: ir.Enter, atom: Atom, before: int) -> tuple[int, int]:
    """The modes inside a with-item, and those that leaving it restores (0: leaving changes nothing)."""
    if isinstance(atom, Context):
        restored = ip.program.restores.get(atom, before)
        if grad_contexts()[atom.type].on_call:
            return effect(atom.type, atom.flag, before), restored
        return effect(atom.type, atom.flag, before), before
    if isinstance(atom, Api) and atom.name in grad_contexts():
        ip.recorder.note(ContextMisuse(e.span, *ip.where(), "uncalled", atom.name))
        return before, 0
    if isinstance(atom, Obj) and atom.type == "contextlib.ExitStack":
        return before, before
    if isinstance(atom, Obj) and atom.cls is not None:
        return ip.program.entering(ip, atom, before)
    generator = ip.program.generator_of(atom)
    if generator is not None:
        inside = ip.program.modes_at_yield(generator, before)
        return inside, before if inside != before else 0
    return before, 0


def bound(ip: Interpreter, e: ir.Enter, context: Value) -> Value:
    """What ``as`` binds: the object itself for the contexts that return themselves."""
    if all(isinstance(atom, Obj) and (atom.type == "contextlib.ExitStack" or atom.cls is not None) for atom in context):
        return context
    return ip.program.unknown(ip, e)


def leave(ip: Interpreter, e: ir.Exit) -> None:
    """Leave a with-item: what it holds is restored."""
    held = ip.state.held.pop(e.region, 0)
    if held:
        context = ip.regions.get(e.region, (frozenset(), e.span))[0]
        grad = [atom for atom in context if isinstance(atom, Context) or held]
        exact = len(grad) == len(context)
        ip.state.modes = held if exact else held | ip.state.modes
        since_before(ip)


def since_before(ip: Interpreter) -> None:
    """After a restore the evidence of modes that no longer hold is dropped."""
    ip.state.since = {mode: span for mode, span in ip.state.since.items() if mode & ip.state.modes}


def may_swallow(ip: Interpreter, region: int) -> bool:
    """Whether the context of ``region`` can swallow an exception."""
    context = ip.regions.get(region)
    if context is None:
        return False
    for atom in context[0]:
        if isinstance(atom, Obj) and (atom.type in suppressing_contexts() or atom.type in suppressing_methods()):
            return True
        if isinstance(atom, Obj) and atom.cls is not None and ip.program.swallows(atom.cls):
            return True
    return False


def discarded(ip: Interpreter, e: ir.Discard) -> None:
    """An expression statement whose value is a grad-mode context: nothing was entered."""
    value = ip.value(e.src)
    contexts = [atom for atom in value if isinstance(atom, Context)]
    for context in contexts:
        if not grad_contexts()[context.type].on_call and context not in ip.program.used_contexts:
            form = "discarded" if context.span == e.span else "short-circuit"
            ip.recorder.note(ContextMisuse(context.span, *ip.where(), form, context.type))


def suspended(ip: Interpreter, e: Any, kind: str) -> None:
    """A suspension inside a with-item that holds a grad mode."""
    for region in ip.block.regions:
        if region not in ip.state.held or region not in ip.regions:
            continue
        context, span = ip.regions[region]
        for atom in context:
            if isinstance(atom, Context):
                ip.recorder.note(Suspension(e.span, *ip.where(), kind, atom.type, span))
                return


def raised(ip: Interpreter, e: ir.Raise) -> None:
    """An explicit raise: if it leaves the body, the mode it leaves with matters."""
    ip.program.raised_explicitly(ip, e)
