"""Bodies that call functions of the file which edit in place what these are handed, or what their object holds.

They need say nothing of gradients themselves; that a leaf is handed over, or what was saved, is only seen in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Sym
from gradlint.facts import Edit
from gradlint.ir import events as ir
from gradlint.project import classes

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

READS = (ir.Load, ir.Attr)
WEIGHTS = frozenset({"weight", "bias"})


def handing_over(program: Program, bodies: Iterable[Body]) -> list[Body]:
    """The bodies of which nothing else is wanted that read a weight and name such a function."""
    editors = {
        body.name
        for (body, _), run in program.runs.items()
        if run is not None and body.kind == "function"
        for edit in run.recorder.all(Edit)
        if any(isinstance(atom, Sym) and atom.scope is body for atom in edit.target.atoms)
    }
    return [body for body in bodies if editors and not body.relevant and reads(body, WEIGHTS) and reads(body, editors)]


def calling_editors(program: Program) -> Iterator[Body]:
    """The methods of which nothing else is wanted that name one which edits in place what their object holds."""
    editors: dict[Body, set[str]] = {}
    for (body, _), run in program.runs.items():
        receiver = program.receiver(body)
        held = (atom for edit in run.recorder.all(Edit) for atom in edit.target.atoms) if run is not None else ()
        if receiver is not None and body.parent is not None and any(is_part(atom, receiver) for atom in held):
            editors.setdefault(body.parent, set()).add(body.name)
    for cls, names in editors.items():
        methods = (body for one in classes.kin(program, program.class_of(cls)) for body in one.body.functions())
        yield from (method for method in methods if not method.relevant and reads(method, names))


def is_part(atom: Atom, whole: Atom) -> bool:
    """Whether something is an attribute of ``whole``, of which no more is known."""
    return isinstance(atom, Sym) and atom.scope is whole


def reads(body: Body, names: Collection[str]) -> bool:
    """Whether a body reads a variable or an attribute with one of ``names``."""
    return any(isinstance(event, READS) and event.name in names for event in body.graph.events())
