"""Modules that some code of the file freezes: their forwards record nothing of their own."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains.values import Atom, Fn, Method, Obj, Sym, Value
from gradlint.facts import AttributeWrite, GradFlag
from gradlint.ir import events as ir
from gradlint.project import members
from gradlint.project.forwards import made_frozen
from gradlint.project.leaves.freezes import module_of

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.values.uses import Tracer

FREEZER = re.compile(r"freeze|requires_grad|toggle_grad|(?:set|disable|stop)_grad", re.IGNORECASE)
"""Names of functions and methods that freeze a module."""
FROZEN_NAME = re.compile(r"frozen|(?:^|[._])(?:ref|reference)_?(?:model|policy|net)", re.IGNORECASE)


class Frozen:
    """The modules of one file that are frozen somewhere, and the names under which they are known."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program, self.tracer = program, tracer
        self._atoms: set[Atom] = set()
        aliases: list[tuple[frozenset[Atom], Atom]] = []
        for (body, _), run in list(program.runs.items()):
            if run is None:
                continue
            for flag in run.recorder.all(GradFlag):
                if flag.value is not True:
                    modules = (module_of(program, target) for target in flag.target.atoms)
                    self._atoms.update(module for module in modules if module is not None)
            for write in run.recorder.all(AttributeWrite):
                for holder in write.target.atoms:
                    named = program.world.sym(holder, f"{holder.label}.{write.name}", parent=holder)
                    aliases.append((write.value.atoms, named))
            for event in body.graph.events():
                if isinstance(event, ir.Call) and event.func >= 0 and FREEZER.search(run.labels[event.func]):
                    self._frozen_by_call(run.temps, event)
        for value, alias in aliases * 2:
            if value & self._atoms or any(made_frozen.is_made_frozen(program, tracer, atom) for atom in value):
                self._atoms.add(alias)
            elif alias in self._atoms:
                self._atoms.update(atom for atom in value if isinstance(atom, (Obj, Sym)))
        attributes = [atom for atom in self._atoms if isinstance(atom, Sym)]
        self._atoms.update(same for atom in attributes for same in members.in_kin(program, atom))

    def _frozen_by_call(self, temps: list[Value], event: ir.Call) -> None:
        """``freeze(model)``, ``model.freeze()``."""
        for ref in event.args[:1]:
            self._atoms.update(atom for atom in temps[ref] if isinstance(atom, (Obj, Sym)))
        for callee in temps[event.func]:
            owner = callee.receiver if isinstance(callee, (Method, Fn)) else getattr(callee, "parent", None)
            if isinstance(owner, (Obj, Sym)):
                self._atoms.add(owner)

    def covers(self, modules: frozenset[Atom]) -> bool:
        """Whether one of the modules, or what it is part of, is frozen somewhere."""
        for module in modules:
            atom: Atom | None = module
            while atom is not None:
                if atom in self._atoms or FROZEN_NAME.search(atom.label) or self._is_made_so(atom):
                    return True
                atom = atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None
        return False

    def _is_made_so(self, atom: Atom) -> bool:
        """Whether a module is made frozen: an instance of a class, a part of one, what a function returns."""
        if made_frozen.is_made_frozen(self.program, self.tracer, atom):
            return True
        if isinstance(atom, Sym) and isinstance(atom.parent, Obj) and atom.parent.cls is not None:
            parts = made_frozen.parts(self.program, self.tracer, atom.parent.cls)
            return atom.path.rpartition(".")[2] in parts
        return atom in self._parts

    @cached_property
    def _parts(self) -> frozenset[Atom]:
        """What classes of other files hold that their constructors freeze."""
        program, found = self.program, set[Atom]()
        for cls in [one for body, one in program.classes.items() if program.stubs.class_data(body) is not None]:
            for name in made_frozen.parts(program, self.tracer, cls):
                found |= program.attributes[cls].get(name, frozenset())
        return frozenset(found)
