"""Calls that change the size of gradients: clipping them, and the scaler of mixed precision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import (
    CONTAINER,
    ITERATOR,
    PARAMETER,
    SCALAR,
    TOP,
    Api,
    Atom,
    Cls,
    Fn,
    Literal,
    Method,
    Obj,
    Sym,
    Value,
)
from gradlint.facts.protocol import Clip, Scaling
from gradlint.ir import events as ir
from gradlint.torch_model import parameter_methods
from gradlint.transfer import gradients

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

CLIPS = re.compile(r"^clip_grad(?:_norm|_value|ient|ients|s)?_?$")
"""Names of functions that clip gradients: torch's own, and those of frameworks."""
SCALER = re.compile(r"(?:^|[._])\w*scaler(?:\[\.\.\.\]|_?\d+)?$", re.IGNORECASE)
"""The last part of a path that names a gradient scaler."""
SCALES = frozenset({"scale", "unscale_", "step", "update"})
GRAD_SCALERS = frozenset({"torch.amp.GradScaler", "torch.cuda.amp.GradScaler", "torch.cpu.amp.GradScaler"})
OF_TORCH = "torch.nn.utils.clip_grad"


def note(ip: Interpreter, site: Site) -> None:
    """Note a call that clips gradients or uses a scaler; code of the file tells itself what it does."""
    func = site.event.func
    label = ip.labels[func] if func >= 0 else ""
    owner, _, name = label.rpartition(".")
    if "clip" in name and CLIPS.match(name):
        if not any(isinstance(atom, (Fn, Cls)) for atom in ip.value(func)):
            clip(ip, site, owner)
    elif name in SCALES and func in ip.receivers:
        scaling(ip, site, name, ip.receivers[func])


def clip(ip: Interpreter, site: Site, owner: str) -> None:
    """``clip_grad_norm_(parameters, limit)``, also as a method."""
    func = site.event.func
    methods = [atom for atom in ip.value(func) if isinstance(atom, Method)]
    of_torch = all(isinstance(atom, Api) and atom.name.startswith(OF_TORCH) for atom in ip.value(func))
    given = site.argument(0, "parameters")
    if methods and all(ip.program.is_module(atom.receiver) for atom in methods):
        given, index = frozenset(atom.receiver for atom in methods), 0
    else:
        index = 1
    limit = site.argument(index, "max_norm") or site.keywords.get("clip_value")
    subject = ip.describe(subjects(ip, given) if given is not None else TOP, owner, site.event.span)
    refused = refusal(ip, site, given) if of_torch and index and given is not None else ""
    ip.recorder.note(
        Clip(
            site.event.span,
            *ip.where(),
            subject,
            gradients.written(ip, site.event),
            limit is not None and is_infinite(ip, limit),
            not of_torch and bool(owner),
            refused,
        )
    )


def subjects(ip: Interpreter, given: Value, depth: int = 0) -> Value:
    """The parameters that a value holds, or the value itself where they are not known."""
    found: set[Atom] = set()
    for atom in given:
        held = ip.state.contents.get(atom) if isinstance(atom, Obj) and atom.type in (ITERATOR, CONTAINER) else None
        if held and depth < 3:
            found |= subjects(ip, held, depth + 1)
        else:
            found.add(atom)
    return frozenset(found) or TOP


def refusal(ip: Interpreter, site: Site, given: Value) -> str:
    """What torch is given in place of parameters, if it cannot take it for certain."""
    label = ip.operand(site.ref(0, "parameters")).name
    if all(isinstance(atom, Method) and atom.name in parameter_methods() for atom in given):
        return f"the method `{label}`, which is not called"
    if label.endswith(".param_groups"):
        return f"`{label}`, a list of dicts"
    made = all(isinstance(atom, Obj) and atom.type not in (PARAMETER, CONTAINER) for atom in given)
    indexed = any(
        isinstance(atom, Obj) and atom.type.endswith(("Sequential", "ModuleList", "ParameterList")) for atom in given
    )
    if given and made and not indexed and all(ip.program.is_module(atom) for atom in given):
        return f"the module `{label}`"
    return ""


def is_infinite(ip: Interpreter, limit: Value) -> bool:
    """Whether a limit is infinite: the call then only tells the norm."""
    for atom in limit:
        if isinstance(atom, Api) and atom.name.rpartition(".")[2] in ("inf", "Inf", "infty"):
            return True
        if isinstance(atom, Literal) and isinstance(atom.value, (int, float)) and atom.value >= 1e6:
            return True
        if isinstance(atom, Obj) and atom.type == SCALAR and ip.state.place(atom).via == "builtins.float":
            here = any(atom.event is event for event in ip.graph.events())
            arguments = atom.event.args if isinstance(atom.event, ir.Call) and here else ()
            texts = [one.value for ref in arguments for one in ip.value(ref) if isinstance(one, Literal)]
            if any(isinstance(text, str) and "inf" in text.lower() for text in texts):
                return True
    return False


def scaling(ip: Interpreter, site: Site, kind: str, receiver: ir.Ref) -> None:
    """``scaler.scale(loss)``, ``scaler.unscale_(optimizer)``, ``scaler.step(optimizer)``, ``scaler.update()``."""
    value = ip.value(receiver)
    scaler = ip.operand(receiver)
    known = any(isinstance(atom, Obj) and atom.type in GRAD_SCALERS for atom in value)
    unclear = all(not isinstance(atom, Obj) or (atom.cls is None and "." not in atom.type) for atom in value)
    if not known and not (unclear and SCALER.search(scaler.name)):
        return
    if kind == "step" and not site.args:
        return
    argument = site.args[0] if site.args else TOP
    subject = ip.describe(argument, ip.operand(site.ref(0, "outputs")).name, site.event.span)
    if not scaler.atoms or all(not isinstance(atom, (Obj, Sym)) for atom in scaler.atoms):
        scaler = ip.describe(frozenset((ip.world.sym(ip.body, scaler.name),)), scaler.name, site.event.span)
    ip.recorder.note(Scaling(site.event.span, *ip.where(), kind, scaler, subject, gradients.written(ip, site.event)))
