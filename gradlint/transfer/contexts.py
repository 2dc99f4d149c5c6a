"""Context managers that set the grad mode: entering, leaving, misusing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gradlint.domains import grad_mode
from gradlint.domains.state import SWALLOWS
from gradlint.domains.values import RESULT, WRAPPER, Atom, Cls, Context, Flag, Fn, Literal, Obj, Sym, Unknown, Value
from gradlint.facts import ContextMisuse, Suspension
from gradlint.ir import events as ir
from gradlint.torch_model import grad_contexts, suppressing_contexts
from gradlint.transfer import calls, expecting, misuse, questions, switching
from gradlint.transfer.recorder import LocalCall, Setter, Wrapping
from gradlint.transfer.switching import effect as effect

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.torch_model.contexts import GradContext
    from gradlint.transfer.interpreter import Interpreter


def make(ip: Interpreter, event: ir.Call, name: str, site: calls.Site) -> Value:
    """Call a grad-mode context's class: checks the argument; `set_grad_enabled` acts at once."""
    known = grad_contexts()[name]
    given = site.argument(0, known.parameter or "mode")
    flag: Flag = msgspec.UNSET
    if given is not None:
        flag = questions.truth(given)
        if site.starred:
            flag = None
        elif decorates(known, given):
            return decorate(ip, event, ip.world.context(event, name, msgspec.UNSET), given)
        elif not misuse.check_argument(ip, event, name, given):
            wrong = ip.world.context(event, name, None)
            ip.program.restores[wrong] = ip.state.modes
            return frozenset((wrong,))
    elif known.mode == "argument" and known.default is None and not site.starred:
        ip.recorder.note(ContextMisuse(event.span, *ip.where(), "no-argument", name))
    context = ip.world.context(event, name, flag)
    if known.on_call:
        if given and all(atom in ip.program.asked for atom in given):
            ip.program.remembered[context] = questions.modes_asked(ip, given)
        ip.program.restores[context] = ip.state.modes
        note_setter(ip, event, name, given or frozenset())
        ip.kept_before[context] = dict(ip.state.kept)
        switching.switch(ip, lambda modes: switching.set_by(ip, context, modes))
        since(ip, event.span)
    return frozenset((context,))


def decorates(known: GradContext, given: Value) -> bool:
    """Whether a context's class takes its argument for a function to decorate, as torch does."""
    if known.mode != "argument":
        return not all(isinstance(atom, Literal) for atom in given)
    return not known.on_call and all(isinstance(atom, (Fn, Cls)) for atom in given)


def note_setter(ip: Interpreter, event: ir.Call, name: str, given: Value) -> None:
    """A call of this body sets the mode until something sets it back."""
    outside = any(isinstance(atom, (Sym, Unknown)) or (isinstance(atom, Obj) and atom.type == RESULT) for atom in given)
    ip.run.setters[event.span] = Setter(name, f"{name}({misuse.shown(ip, event, given)})", outside)


def wrap(ip: Interpreter, event: ir.Call, context: Context, function: Value) -> Value:
    """``torch.no_grad(function)``: something to call, which runs ``function`` in the mode of the context."""
    wrapper = ip.world.obj(event, WRAPPER)
    ip.program.wrapping[wrapper] = context
    ip.state.contents[wrapper] = function
    return frozenset((wrapper,))


def decorate(ip: Interpreter, event: ir.Call, context: Context, function: Value) -> Value:
    """``context(function)``."""
    restored = ip.program.restores.get(context)
    if restored is not None:
        ip.state.modes = restored
        switching.switched_back(ip, context)
    found: set[Atom] = set()
    for atom in function:
        if isinstance(atom, Fn):
            wrapped = ip.world.fn(atom.body, atom.receiver, (*atom.wrappers, context), atom.marks)
            found.add(wrapped)
            if is_decorator(event, atom.body):
                ip.program.decorated(wrapped)
        elif isinstance(atom, Cls):
            found.add(atom)
        else:
            found |= wrap(ip, event, context, frozenset((atom,)))
        if isinstance(atom, (Fn, Cls)) and is_decorator(event, atom.body):
            ip.recorder.note(Wrapping(event.span, *ip.where(), context, atom))
    inner = decorated_before(ip, event)
    if inner is not None and all(not isinstance(atom, Fn) or atom.body is not inner for atom in function):
        ip.program.decorated_around(inner, context)
    return frozenset(found)


def decorated_before(ip: Interpreter, event: ir.Call) -> Body | None:
    """The function that is made right here and handed to other decorators first, what ever these return."""
    makers = {one.dst: one for one in ip.block.events if isinstance(one, (ir.Call, ir.MakeFunction))}
    maker = makers.get(event.args[0]) if event.args else None
    while isinstance(maker, ir.Call) and maker.args:
        maker = makers.get(maker.args[0])
    return maker.body if isinstance(maker, ir.MakeFunction) else None


def is_decorator(event: ir.Call, body: Body) -> bool:
    """Whether a call decorates the definition of ``body``, above which it stands, rather than wrap it elsewhere."""
    return event.span[:2] < body.span[:2]


def since(ip: Interpreter, span: ir.Span) -> None:
    """Remember where the mode now in force was set."""
    ip.state.since = {mode: span for mode in grad_mode.each(ip.state.modes) if mode != grad_mode.INHERITED}


def enter(ip: Interpreter, e: ir.Enter) -> None:
    """Enter a with-item."""
    context = ip.value(e.context)
    before = ip.state.modes
    ip.regions[e.region] = (context, e.span)
    for atom in context:
        misuse.entered(ip, e, atom)
    note_method(ip, context, "__enter__", e.span)
    expecting.enter(ip, e, context)
    switching.enter(ip, e.region, context)
    if ip.state.modes != before or any(isinstance(atom, Context) for atom in context):
        since(ip, e.span)
    ip.program.entered(context)
    ip.set(e, bound(ip, e, context), "")


def note_method(ip: Interpreter, context: Value, name: str, span: ir.Span) -> None:
    """Note that a ``with`` calls a method of an instance of a class of this file."""
    for atom in context:
        fn = ip.program.context_managers.method_of(atom, name)
        if fn is not None:
            ip.recorder.calls[ip.block.index].append(LocalCall(fn, ip.state.modes, span, dict(ip.state.marks)))


def bound(ip: Interpreter, e: ir.Enter, context: Value) -> Value:
    """What ``as`` binds: the object itself for the contexts that return themselves.

    A tensor is no context: it stands for one that gives it back, such as ``amp.scale_loss(loss, optimizer)``.
    """
    if all(isinstance(atom, Obj) and (atom.type == "contextlib.ExitStack" or atom.cls is not None) for atom in context):
        return context
    if context and all(ip.program.is_tensor(ip, atom) for atom in context):
        return context
    return ip.program.unknown(ip, e)


def leave(ip: Interpreter, e: ir.Exit) -> None:
    """Leave a with-item: what it holds is restored."""
    if e.region in ip.regions:
        note_method(ip, ip.regions[e.region][0], "__exit__", e.span)
    if switching.leave(ip, e.region):
        since_before(ip)


def since_before(ip: Interpreter) -> None:
    """After a restore the evidence of modes that no longer hold is dropped."""
    ip.state.since = {mode: span for mode, span in ip.state.since.items() if mode & ip.state.modes}


def may_swallow(ip: Interpreter, region: int) -> bool:
    """Whether the context of ``region`` can swallow an exception."""
    context = ip.regions.get(region)
    return context is not None and swallows(ip, context[0])


def swallows(ip: Interpreter, context: Value) -> bool:
    """Whether something that ``context`` may be can swallow an exception."""
    for atom in context:
        if isinstance(atom, Obj) and atom.type == switching.STACK:
            if ip.state.marks.get(atom, 0) & SWALLOWS:
                return True
        elif expecting.asks(atom) or (isinstance(atom, Obj) and atom.type in suppressing_contexts()):
            return True
        if isinstance(atom, Obj) and atom.cls is not None and ip.program.context_managers.swallows(atom.cls):
            return True
    return False


def suspended(ip: Interpreter, e: Any, kind: str) -> None:
    """A suspension inside a with-item that holds a grad mode, unless a decorator restores the mode at every yield."""
    fn = ip.program.functions.get(ip.body)
    if kind == "yield" and fn is not None and fn.wrappers and not ip.body.is_async:
        return
    for region in ip.block.regions:
        if region not in ip.state.held or region not in ip.regions:
            continue
        context, span = ip.regions[region]
        for atom in pushed(ip, context):
            if isinstance(atom, Context):
                ip.recorder.note(Suspension(e.span, *ip.where(), kind, atom.type, span))
                return


def pushed(ip: Interpreter, context: Value) -> Value:
    """The contexts that a with-item enters: itself, and what a stack has entered so far."""
    return context.union(*(ip.state.contents.get(atom, ()) for atom in context if isinstance(atom, Obj)))
