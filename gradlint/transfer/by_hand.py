"""Contexts entered and left by calls of methods: ``__enter__``, ``__exit__``, and those of an `ExitStack`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.state import SWALLOWS
from gradlint.domains.values import TOP, Api, Atom, Context, Obj, Value
from gradlint.torch_model import grad_contexts
from gradlint.transfer import contexts, misuse, questions, switching
from gradlint.transfer.recorder import Setter

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter


def enter_context(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``stack.enter_context(context)``: in force until the stack is left."""
    if not site.args:
        return None
    before = ip.state.modes
    grad = False
    for atom in site.args[0]:
        if isinstance(atom, Context):
            grad = True
            ip.state.contents[receiver] = ip.state.contents.get(receiver, frozenset()) | {atom}
            if not grad_contexts()[atom.type].on_call:
                ip.program.restores[atom] = before
        misuse.entered(ip, site.event, atom)
    ip.program.entered(site.args[0])
    contexts.note_method(ip, site.args[0], "__enter__", site.event.span)
    switching.push(ip, receiver, site.args[0])
    if contexts.swallows(ip, site.args[0]):
        ip.state.marks[receiver] = ip.state.marks.get(receiver, 0) | SWALLOWS
    if grad or ip.state.modes != before:
        contexts.since(ip, site.event.span)
    return TOP


def enter(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``context.__enter__()``."""
    if not isinstance(receiver, Context):
        return None
    ip.program.entered(frozenset((receiver,)))
    if not grad_contexts()[receiver.type].on_call:
        ip.program.restores[receiver] = ip.state.modes
    switching.switch(ip, lambda modes: contexts.effect(receiver.type, receiver.flag, modes))
    contexts.since(ip, site.event.span)
    ip.run.setters[site.event.span] = Setter(receiver.type, f"{ip.labels[site.event.func]}()")
    return ip.world.none


def leave(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``context.__exit__(...)``."""
    if not isinstance(receiver, Context):
        return None
    restored = ip.program.restores.get(receiver, ip.state.modes)
    switching.switch(ip, lambda modes: restored)
    contexts.since_before(ip)
    return ip.world.none


def callback(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``stack.callback(torch.set_grad_enabled, flag)``: leaving the stack sets the mode."""
    called = site.args[0] if len(site.args) == 2 else frozenset()
    switches = [atom.name for atom in called if isinstance(atom, Api) and atom.name in grad_contexts()]
    region = next((r for r in reversed(ip.block.regions) if receiver in ip.regions.get(r, ((),))[0]), None)
    if region is None or not switches:
        return None
    flag = site.args[1]
    if all(atom in ip.program.asked for atom in flag):
        ip.state.held[region] = questions.modes_asked(ip, flag)
    else:
        ip.state.held[region] = contexts.effect(switches[0], questions.truth(flag), ip.state.modes)
    ip.state.kept.pop(region, None)
    return TOP


def close(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``stack.close()``: leaves what the stack has entered."""
    held = [atom for atom in ip.state.contents.get(receiver, ()) if isinstance(atom, Context)]
    if not isinstance(receiver, Obj) or receiver.type != "contextlib.ExitStack" or not held:
        return None
    restored = ip.program.restores[min(held, key=lambda context: context.span)]
    switching.switch(ip, lambda modes: restored)
    contexts.since_before(ip)
    return ip.world.none
