"""Questions about classes of the file: bases, methods, and what torch makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Cls, Fn, Obj, Value
from gradlint.ir import events as ir
from gradlint.torch_model import modules, optimizers, trainable_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

MODULE_BASE = re.compile(r"(?:^|\.)(?:\w*Module|\w*PreTrainedModel|PreTrainedModel|LightningModule|MessagePassing)$")
"""Last names of outside base classes that are modules: the frameworks' own base classes end so."""
OPTIMIZER_BASE = re.compile(r"(?:^|\.)\w*Optimizer$")
"""Last names of outside base classes that are optimizers."""
PLAIN_BASES = frozenset(
    "builtins.object abc.ABC typing.Generic typing.Protocol torch.nn.Module torch.nn.modules.module.Module".split()
)
"""Base classes from outside without parameters, whose methods neither clear gradients nor belong to a training loop."""
SHORT = 4
"""A method that raises and has no more blocks than this in its graph does nothing else."""
FUNCTION_BASE = "torch.autograd.Function"
SAVED = ("saved_tensors", "saved_variables")
"""What the context of a custom function calls what was saved, now and once."""
HOOKS = frozenset("forward step closure".split())
"""Methods that somebody outside the file calls."""


def lineage(cls: Cls) -> list[Cls | Api]:
    """The class, then its bases in the file or outside it, depth first, each once."""
    found: list[Cls | Api] = []
    pending: list[Cls | Api] = [cls]
    while pending:
        current = pending.pop(0)
        if current in found:
            continue
        found.append(current)
        if isinstance(current, Cls):
            pending = [base for value in current.bases for base in value if isinstance(base, (Cls, Api))] + pending
    return found


def kin(program: Program, cls: Cls) -> list[Cls]:
    """The class, its bases in the file, and its heirs there: an object whose ``self`` it is may be any of these."""
    return [*(base for base in lineage(cls) if isinstance(base, Cls)), *program.heirs.get(cls, ())]


def methods(cls: Cls) -> Iterator[Body]:
    """The functions that stand in the class, then those of its bases in the file."""
    yield from (body for base in lineage(cls) if isinstance(base, Cls) for body in base.body.functions())


def names(program: Program, cls: Cls) -> list[str]:
    """The dotted names of the class and of its bases, nearest first."""
    return [dotted(program, base) if isinstance(base, Cls) else base.name for base in lineage(cls)]


def dotted(program: Program, cls: Cls) -> str:
    """The dotted name of a class of the project, as far as the names of its files tell."""
    path, _, qualname = program.identity(cls.body).partition(":")
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"{module}.{qualname}" if module else qualname


def holds(program: Program, cls: Cls, part: Atom | None) -> bool:
    """Whether ``part`` is stored in an attribute of ``cls``, or of what is stored there."""
    pending, seen = [cls], {cls}
    while pending:
        for base in lineage(pending.pop()):
            held = program.attributes.get(base, {}).values() if isinstance(base, Cls) else ()
            if any(part in value for value in held):
                return True
            inner = {atom.cls for value in held for atom in value if isinstance(atom, Obj) and atom.cls is not None}
            pending += inner - seen
            seen |= inner
    return False


def is_module(cls: Cls) -> bool:
    """Whether instances of ``cls`` are modules."""
    return any(isinstance(base, Api) and is_module_class(base.name) for base in lineage(cls))


def is_module_class(name: str) -> bool:
    """Whether the outside class ``name`` is one of torch's modules, or looks like a framework's module."""
    if name.startswith("torch.nn."):
        return name.rpartition(".")[2] in modules()
    return MODULE_BASE.search(name) is not None


def is_optimizer(cls: Cls) -> bool:
    """Whether instances of ``cls`` are optimizers: a base outside the project is one of torch, or is called so."""
    outside = (base.name for base in lineage(cls) if isinstance(base, Api))
    return any(name in optimizers() or OPTIMIZER_BASE.search(name) for name in outside)


def is_trainable_layer(cls: Cls) -> bool:
    """Whether ``cls`` derives from a layer of torch that has a weight."""
    return any(
        isinstance(base, Api)
        and base.name.startswith("torch.nn.")
        and base.name.rpartition(".")[2] in trainable_modules()
        for base in lineage(cls)
    )


def is_function(cls: Cls) -> bool:
    """Whether ``cls`` is a custom autograd function, which runs with gradients off (facts: GM45)."""
    return any(isinstance(base, Api) and base.name == FUNCTION_BASE for base in lineage(cls))


def is_all_in_sight(cls: Cls) -> bool:
    """Whether all that a class inherits from is in the file, or adds nothing: see `PLAIN_BASES`."""
    bases = [atom for one in lineage(cls) if isinstance(one, Cls) for value in one.bases for atom in value]
    return all(isinstance(base, Cls) or (isinstance(base, Api) and base.name in PLAIN_BASES) for base in bases)


def method(program: Program, cls: Cls, name: str) -> Value | None:
    """What the name stands for in the class's block or in that of a base in the file."""
    for base in lineage(cls):
        if isinstance(base, Cls):
            found = program.namespaces.get(base, {}).get(name)
            if found is not None:
                return found
    return None


def own_function(program: Program, cls: Cls, name: str) -> Fn | None:
    """The method ``name`` as a function of the file, if it is one."""
    found = method(program, cls, name) or frozenset()
    return next((atom for atom in found if isinstance(atom, Fn)), None)


def is_method(body: Body) -> bool:
    """Whether a function stands in a class."""
    return body.parent is not None and body.parent.kind == "class"


def takes_no_self(method: Body) -> bool:
    """Whether a function in a class is no method for all that the names of parameters tell: its first one has another
    name than ``self``, which the first one of a sibling has. It is called on the class, as if it were static.
    """
    if not method.parameters or method.parent is None or method.parameters[0].name in ("self", "cls"):
        return False
    return any(body.parameters[0].name == "self" for body in method.parent.children if body.parameters)


def is_abstract(body: Body) -> bool:
    """Whether a method does nothing but raise, or nothing at all: a class that inherits it has the code."""
    if body.kind != "function" or body.parent is None or body.parent.kind != "class":
        return False
    events = list(body.graph.events())
    if any(isinstance(event, ir.Raise) for event in events):
        return len(body.graph.blocks) <= SHORT and not any(isinstance(event, ir.Return) for event in events)
    return all(isinstance(event, (ir.Const, ir.Discard)) for event in events)


def replacements(program: Program, fn: Fn) -> list[Fn]:
    """The methods that classes of the file have in the place of ``fn``."""
    scope = fn.body.parent
    cls = program.classes.get(scope) if scope is not None else None
    found: list[Fn] = []
    for other, namespace in program.namespaces.items() if cls is not None else ():
        for atom in namespace.get(fn.body.name, ()):
            if isinstance(atom, Fn) and atom.body is not fn.body and cls in lineage(other):
                found.append(atom)
    return found
