"""Modules and leaves that are made in inference mode, and whether anything outside of it gets to see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Literal, Value
from gradlint.facts import InferenceUse

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter


def made(ip: Interpreter, event: Any, kind: str, call: str, what: str, product: Atom) -> None:
    """Note that ``call`` made ``product``, if it did so in inference mode for certain."""
    if ip.state.modes == grad_mode.INFERENCE:
        ip.program.made_in_inference.add(product)
        ip.recorder.note(InferenceUse(event.span, *ip.where(), kind, call, what, product))


def read(ip: Interpreter, value: Value) -> None:
    """A variable is read: where gradients may be recorded, what inference mode made has left it."""
    if ip.program.made_in_inference and ip.state.modes & ~grad_mode.INFERENCE:
        leaves(ip, value)


def leaves(ip: Interpreter, value: Value) -> None:
    """A value outlives the region in which it was made."""
    if ip.program.made_in_inference:
        ip.program.left_inference |= ip.program.made_in_inference & ip.program.reach(ip, value)


def moved(ip: Interpreter, site: Site, module: Atom, name: str) -> None:
    """Note a module that is cast or moved: its parameters are replaced, unless they may be there already."""
    if ip.state.modes != grad_mode.INFERENCE or module in ip.program.made_in_inference:
        return
    if name == "to" and not any(isinstance(atom, (Api, Literal)) for value in site.values() for atom in value):
        return
    call = f"{module.label or 'module'}.{name}(...)"
    ip.recorder.note(InferenceUse(site.event.span, *ip.where(), "move", call, "the parameters"))
