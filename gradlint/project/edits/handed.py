"""Bodies that hand weights to functions of the file that edit their arguments in place.

They need say nothing of gradients themselves; that the argument is a leaf is only seen in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gradlint.domains.values import Sym
from gradlint.facts import Edit
from gradlint.ir import events as ir

if TYPE_CHECKING:
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


def reads(body: Body, names: Collection[str]) -> bool:
    """Whether a body reads a variable or an attribute with one of ``names``."""
    return any(isinstance(event, READS) and event.name in names for event in body.graph.events())
