"""The life of gradients: backward fills them, a step applies them, and something clears them in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import (
    CONTAINER,
    GRAD,
    ITERATOR,
    PARAMETER,
    RESULT,
    TOP,
    Api,
    Atom,
    Fn,
    Obj,
    Sym,
    Tuple,
    Unknown,
    Value,
)
from gradlint.facts import Backward, Clear, InferenceUse, Operand, Step, Touch
from gradlint.ir import events as ir
from gradlint.torch_model import roles
from gradlint.transfer import saving

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter


OVERWRITES = re.compile(r"zero|fill|copy|set_|^\[\]=$")
"""In-place operations that leave nothing of what was there, or may not."""


def written(ip: Interpreter, event: ir.Call) -> str:
    """The call as the source has it, with dots for what is no name."""
    label = ip.labels[event.func] if event.func >= 0 else ""
    arguments = [ip.labels[ref] if ref >= 0 and ip.labels[ref] else "..." for ref in event.args]
    shown = ", ".join(arguments) if not event.keywords else "..."
    return f"{label}({shown})"


def backward(ip: Interpreter, event: ir.Call, target: ir.Ref, how: str) -> None:
    """A backward pass from ``target``: gradients fill up, saved tensors are freed."""
    names = {name for name, _ in event.keywords}
    handed = len(event.args) > (target in event.args) or not names.isdisjoint(("gradient", "grad_tensors"))
    deliberate = not names.isdisjoint(("allow_unused", None)) if how == "grad" else handed
    where, inputs = (event.span, *ip.where()), "inputs" in names
    started = starts(ip, target)
    note_backward(ip, Backward(*where, started, how, written(ip, event), inputs, deliberate=deliberate))


def starts(ip: Interpreter, target: ir.Ref) -> Operand:
    """What a pass starts from: of a list or tuple, what it holds, if that is known."""
    operand = ip.operand(target)
    held: set[Atom] = set()
    for atom in operand.atoms:
        if isinstance(atom, Tuple):
            held.update(*atom.items)
        elif isinstance(atom, Obj) and atom.type == CONTAINER and ip.state.contents.get(atom):
            held |= ip.state.contents[atom]
        else:
            return operand
    return ip.describe(frozenset(held), operand.name, operand.span) if held else operand


def note_backward(ip: Interpreter, happening: Backward) -> None:
    """Record a backward pass, of this body or of a function that it calls."""
    ip.recorder.note(happening)
    if ip.state.modes == grad_mode.INFERENCE and not happening.target.off_graph:
        call = f"{happening.how}(...)"
        ip.recorder.note(InferenceUse(happening.span, *ip.where(), "backward", call, "the gradients"))
    saving.free(ip, frozenset(happening.target.atoms))


def step(ip: Interpreter, event: ir.Call, optimizer: ir.Ref, value: Value, closure: bool = False) -> None:
    """An optimizer's step; ``closure`` tells that it runs forward and backward itself."""
    operand = ip.describe(value, ip.operand(optimizer).name, event.span)
    note_step(ip, Step(event.span, *ip.where(), operand, written(ip, event), closure, operand.name))


def note_step(ip: Interpreter, happening: Step) -> None:
    """Record a step, of this body or of a function that it calls."""
    ip.recorder.note(happening)
    if ip.state.modes == grad_mode.INFERENCE:
        call = f"{happening.optimizer.name}.step()"
        ip.recorder.note(InferenceUse(happening.span, *ip.where(), "step", call, "the state of the optimizer"))


def own_step(ip: Interpreter, site: Site, fn: Fn) -> None:
    """Note the step of an optimizer whose ``step`` is code in sight, unless that steps an optimizer itself.

    What it is given may be a closure, which that code calls in the mode that it likes.
    """
    if fn.body.name != "step" or fn.receiver is None or not ip.program.is_optimizer(fn.receiver):
        return
    if any(happening.span == site.event.span for happening in ip.recorder.all(Step)):
        return
    if site.values():
        assign(ip, site.event.span, TOP)
    ref = ip.receivers.get(site.event.func, ir.OPAQUE_REF)
    step(ip, site.event, ref, frozenset((fn.receiver,)), bool(site.values()))


def clear(ip: Interpreter, event: ir.Call, subject: Value, name: str) -> None:
    """``subject.zero_grad()``."""
    ip.recorder.note(Clear(event.span, *ip.where(), ip.describe(subject, name, event.span), written(ip, event)))


def assign(ip: Interpreter, span: ir.Span, subject: Value) -> None:
    """A gradient is set, deleted or zeroed by hand: whatever else has this parameter may be meant as well."""
    ip.recorder.note(Touch(span, *ip.where(), ip.describe(subject, "", span), True))


def edit(ip: Interpreter, event: ir.Event, target: Value, name: str, op: str) -> None:
    """Something is edited in place: a gradient, if it is called so, which ``zero_`` and its like clear."""
    is_grad = "grad" in name.split(".") or any(isinstance(atom, Obj) and atom.type == GRAD for atom in target)
    if is_grad and OVERWRITES.search(op):
        assign(ip, event.span, TOP)


def read(ip: Interpreter, span: ir.Span, subject: Value) -> None:
    """Somebody looks at a gradient, and may keep it."""
    ip.recorder.note(Touch(span, *ip.where(), ip.describe(subject, "", span), False))


def pass_on(ip: Interpreter, site: Site) -> None:
    """Code out of sight gets an optimizer, a module or parameters, or its name says that it clears gradients."""
    func = site.func
    label = ip.labels[func] if func >= 0 else ""
    name = label.rpartition(".")[2]
    if roles.CLEARS.search(name):
        assign(ip, site.event.span, TOP)
        return
    known = all(isinstance(atom, Api) and atom.name.startswith("torch.") for atom in ip.value(func))
    if known or roles.RESCALES.search(name):
        return
    given = [(ip.receivers[func], ip.value(ip.receivers[func]))] if func in ip.receivers else []
    given += with_temporaries(site)
    handed = frozenset(atom for ref, value in given for atom in value if optimizer(ip, atom, ref) is not None)
    if handed:
        may_clear = not roles.KEEPS_GRADIENTS.search(name)
        ip.recorder.note(Touch(site.event.span, *ip.where(), ip.describe(handed, "", site.event.span), may_clear))
    elif any(holds_gradients(ip, atom) for value in site.values() for atom in value):
        ip.recorder.note(Touch(site.event.span, *ip.where(), ip.describe(TOP, "", site.event.span), False))


def with_temporaries(site: Site) -> Iterator[tuple[ir.Ref, Value]]:
    """The arguments of a call, each with its temporary; those that are handed on to another function have none."""
    own = len(site.event.args) == len(site.args)
    yield from zip(site.event.args if own else [ir.OPAQUE_REF] * len(site.args), site.args, strict=True)
    for keyword, ref in site.event.keywords:
        if (keyword or "**") in site.keywords:
            yield ref, site.keywords[keyword or "**"]


def single(ip: Interpreter, given: Value) -> Value:
    """The parameters of no module that a list holds, if it holds nothing else."""
    held = frozenset(one for atom in given for one in ip.state.contents.get(atom, frozenset()))
    alone = all(isinstance(one, Obj) and one.type == PARAMETER and one.owner is None for one in held)
    return held if alone else frozenset()


def holds_gradients(ip: Interpreter, atom: Atom) -> bool:
    """Whether gradients can be reached from an argument: a module, parameters, an iterator over them."""
    if isinstance(atom, Obj) and atom.type in (PARAMETER, GRAD):
        return True
    if isinstance(atom, Obj) and atom.type == ITERATOR:
        return any(isinstance(item, Obj) and item.type == PARAMETER for item in ip.state.contents.get(atom, ()))
    return ip.program.is_module(atom)


def optimizer(ip: Interpreter, atom: Atom, ref: ir.Ref) -> Atom | None:
    """The optimizer that ``atom`` is, for certain or by the name of its variable; None if it is none."""
    if ip.program.is_optimizer(atom):
        return atom
    name = ip.labels[ref] if ref >= 0 else ""
    if not roles.OPTIMIZER.search(name) or roles.SCHEDULER.search(name):
        return None
    if isinstance(atom, Unknown):
        return ip.world.sym(ip.body, name)
    return atom if isinstance(atom, Sym) or (isinstance(atom, Obj) and atom.type == RESULT) else None
