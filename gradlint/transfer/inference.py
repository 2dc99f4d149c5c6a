"""What is made in inference mode, and whether anything outside of it gets to see it.

Modules and leaves that leave it are spoilt for training. So are tensors: outside they cannot be edited, made leaves, or
saved for a backward (facts: GM15, GM16). A view is what the tensor is that it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Literal, Value
from gradlint.facts import InferenceUse
from gradlint.facts.modes import InferenceTensor

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
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


# -- tensors -----------------------------------------------------------------------------------------------


def computed(ip: Interpreter, made: Atom, modes: int) -> None:
    """A tensor is computed in ``modes``."""
    known = ip.program.computed_in
    known[made] = known.get(made, 0) | modes


def is_computed(ip: Interpreter, value: Value) -> bool:
    """Whether all that a value may be was computed in inference mode."""
    return bool(value) and all(ip.program.computed_in.get(atom) == grad_mode.INFERENCE for atom in value)


def computed_anew(ip: Interpreter, made: Value, modes: int) -> None:
    """What was taken to be computed in the modes of the call was computed in ``modes``."""
    ip.program.computed_in.update(dict.fromkeys(made, modes))


def viewed(ip: Interpreter, view: Atom, whole: Value) -> None:
    """A view of ``whole`` is made; what is not known was not computed in inference mode."""
    for atom in whole:
        computed(ip, view, ip.program.computed_in.get(atom, grad_mode.ON))


def handed_back(program: Program, made: Atom, returned: Atom, modes: int) -> None:
    """A function that is called in ``modes`` returns ``returned``, which is ``made`` for the caller."""
    known = program.computed_in
    known[made] = known.get(made, 0) | grad_mode.resolve(known[returned], modes)


def used(ip: Interpreter, value: Value, form: str, call: str, span: Span) -> None:
    """Outside of inference mode something is done to ``value`` that a tensor made there does not allow."""
    if ip.state.modes & grad_mode.INFERENCE:
        return
    if is_computed(ip, value):
        target = ip.describe(value, named(ip, value), span)
        ip.recorder.note(InferenceTensor(span, *ip.where(), target, form, call))


def named(ip: Interpreter, value: Value) -> str:
    """The variable that holds ``value``; empty if none does."""
    return next((name for name, held in ip.state.env.items() if held == value and name.isidentifier()), "")
