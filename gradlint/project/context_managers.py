"""What context managers of the file do to the grad mode: generators of ``contextlib``, classes with ``__enter__``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Literal, Obj
from gradlint.project import classes, summaries
from gradlint.project.solving import solved

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Cls, Fn
    from gradlint.ir import events as ir
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program


class ContextManagers:
    """The context managers of one file, and the generators that some are made of."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def generator_of(self, atom: Atom) -> Fn | None:
        """The generator function behind a context manager made by ``contextlib.contextmanager``."""
        fn = self.program.generators.get(atom)
        return fn if fn is not None and any("contextmanager" in mark for mark in fn.marks) else None

    def yields(self, body: Body, entry: int) -> dict[ir.Span, int]:
        """The modes in force at each ``yield`` of a generator that is entered in the single mode ``entry``."""
        run = self.program.run(body, grad_mode.unsaid(entry))
        return (
            {place: grad_mode.resolve(modes, entry) for place, modes in run.yields.items()} if run is not None else {}
        )

    def resumed(self, body: Body, entry: int, place: ir.Span, mode: int) -> int:
        """The modes in which a generator ends that goes on from the ``yield`` at ``place`` in the mode ``mode``."""
        if self.program.stubs.is_stub(body):
            return self.program.stubs.resumed(body, entry, mode)
        key = (body, entry, place, mode)
        if key not in self.program.resumptions:
            self.program.resumptions[key] = mode
            run = solved(self.program, body, entry, {}, (place, mode))
            self.program.resumptions[key] = run.exit_modes if run is not None else mode
        return self.program.resumptions[key]

    def entering(self, atom: Obj, before: int) -> tuple[int, int]:
        """Enter an instance of a class of the file: what its ``__enter__`` does to the mode."""
        enter, leave = self.method_of(atom, "__enter__"), self.method_of(atom, "__exit__")
        if enter is None:
            return before, 0
        found = self.behind(enter, before)
        if leave is None or before == grad_mode.INFERENCE:
            return found, before
        ends = {mode: self.behind(leave, mode) for mode in (grad_mode.ON, grad_mode.OFF)}
        if all(mode == end for mode, end in ends.items()):
            return found, 0
        one = ends[grad_mode.ON] if ends[grad_mode.ON] == ends[grad_mode.OFF] else 0
        return found, one | (before & grad_mode.INFERENCE) if one in grad_mode.NAMES else before

    def method_of(self, atom: Atom, name: str) -> Fn | None:
        """The method ``name`` of an instance of a class of this file."""
        cls = atom.cls if isinstance(atom, Obj) else None
        return classes.own_function(self.program, cls, name) if cls is not None else None

    def behind(self, fn: Fn, before: int) -> int:
        """The modes in which a function returns that is called in the modes ``before``."""
        found = 0
        for mode in grad_mode.each(summaries.inside(fn, before)):
            run = self.program.run(fn.body, grad_mode.unsaid(mode))
            exit_modes = run.exit_modes if run is not None and run.complete else grad_mode.INHERITED
            found |= grad_mode.resolve(exit_modes or grad_mode.INHERITED, mode)
        return before if fn.wrappers else found

    def swallows(self, cls: Cls) -> bool:
        """Whether a context manager of the file may swallow exceptions."""
        leave = classes.own_function(self.program, cls, "__exit__")
        if leave is None:
            return True
        run = self.program.run(leave.body, grad_mode.INHERITED)
        if run is None:
            return True
        values = [one.value for group in run.returned.values() for one in group]
        return any(not all(isinstance(a, Literal) and not a.value for a in value) for value in values)
