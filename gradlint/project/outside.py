"""What functions and classes are called between files, and which names can be none of the project's."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING

from gradlint.domains.values import RESULT, Api, Cls, Method, Obj, Sym
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.torch_model import module_methods
from gradlint.torch_model.attributes import known_methods

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.project.program import Program

ANNOTATION = re.compile(r"(?:(?:typing\.)?Optional\[)?[\"']?(?P<name>[A-Za-z_][\w.]*)[\"']?\]?(?:\s*\|\s*None)?")
"""An annotation that names one class."""


@cache
def is_known_outside(name: str) -> bool:
    """Whether something imported is of torch or of Python itself, so that no file of the project can define it."""
    root = name.partition(".")[0]
    return root in ("torch", "numpy", "builtins") or root in sys.stdlib_module_names


@cache
def named_class(annotation: str) -> str:
    """The one class that an annotation names; empty if it says anything else."""
    found = ANNOTATION.fullmatch(annotation.strip())
    return found.group("name") if found is not None else ""


def names_outside(program: Program, atom: Atom) -> tuple[str, ...]:
    """What to call the function ``atom`` when other files are asked for it; nothing if none of them can know it."""
    if isinstance(atom, Sym) and atom.parent is None:
        return program.stubs.asked_as(atom)
    name = _name_outside(program, atom)
    return (name,) if name else ()


def _name_outside(program: Program, atom: Atom) -> str:
    if isinstance(atom, Api):
        return "" if is_known_outside(atom.name) else atom.name
    if isinstance(atom, Obj) and atom.type == RESULT and isinstance(atom.event, ir.Attr):
        # A method of what something unknown has returned.
        return "" if atom.event.name in known_methods() else f"?.{atom.event.name}"
    if not isinstance(atom, (Method, Sym)):
        return ""
    holder = atom.receiver if isinstance(atom, Method) else atom.parent
    last = atom.name if isinstance(atom, Method) else atom.path.rpartition(".")[2]
    if holder is None or not last.isidentifier() or last.startswith("__"):
        return ""
    cls = program.class_behind(holder)
    if isinstance(cls, Cls) and classes.is_module(cls) and last in module_methods():
        return ""
    if isinstance(cls, Cls):
        return f"{program.identity(cls.body)}.{last}"
    if isinstance(cls, Api) and (cls.name != "torch.nn.Module" or last in module_methods()):
        return f"{cls.name}.{last}"
    return "" if last in known_methods() else f"?.{last}"
