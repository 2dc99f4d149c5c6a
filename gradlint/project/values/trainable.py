"""Which things surely have trainable parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import INSTANCE, PARAMETER, Atom, Cls, Obj
from gradlint.project import classes, members
from gradlint.torch_model import trainable_modules

if TYPE_CHECKING:
    from gradlint.project.program import Program

DEEPEST = 3
"""So many modules inside each other are looked into."""


def is_parameter(atom: Atom) -> bool:
    """Whether it is a parameter made by ``nn.Parameter(...)``."""
    return isinstance(atom, Obj) and atom.type == PARAMETER and atom.owner is None


def has_parameters(program: Program, module: Obj, depth: int = 0) -> bool:
    """Whether a module surely has trainable parameters, as far as its class and what it was made of tell."""
    if module.type == INSTANCE and module.cls is not None:
        return classes.is_module(module.cls) and depth < DEEPEST and gives_parameters(program, module.cls, depth + 1)
    if not module.type.startswith("torch.nn."):
        return False
    if module in program.layers_outside or module.type.rpartition(".")[2] in trainable_modules():
        return True
    parts = (part for part in program.made_from.get(module, ()) if isinstance(part, Obj) and part is not module)
    return depth < DEEPEST and any(has_parameters(program, part, depth + 1) for part in parts)


def gives_parameters(program: Program, cls: Cls, depth: int) -> bool:
    """Whether the constructors of a class store something with parameters in an attribute."""
    if classes.is_trainable_layer(cls):
        return True
    atoms = (atom for value in members.held(program, cls).values() for atom in value)
    return any(is_parameter(one) or (isinstance(one, Obj) and has_parameters(program, one, depth)) for one in atoms)
