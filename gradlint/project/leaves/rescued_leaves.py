"""Results without a graph that are made leaves where the gradients of what computed them are wanted, too (GM31).

A leaf whose gradient somebody reads was made on purpose, unless the same body reads the gradients of the module behind
it, or steps an optimizer that owns it: the new leaf is then all that backward reaches, and the module gets nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, Atom, Literal, Obj, Sym
from gradlint.facts import Forward, GradFlag, Step
from gradlint.ir import events as ir
from gradlint.project.leaves.freezes import lineage
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


def rescued(program: Program, run: Run) -> frozenset[Span]:
    """Where one body makes such leaves, among those whose own gradient it reads."""
    flags = [flag for flag in run.recorder.all(GradFlag) if flag.span in run.flags_read]
    forwards = run.recorder.all(Forward) if flags else []
    if not any(forward.modes.off for forward in forwards):
        return frozenset()
    wanted = {*read(run), *stepped(program, run)} - recorded(program)
    return frozenset(flag.span for flag in flags if behind(run, forwards, flag) & wanted)


def behind(run: Run, forwards: list[Forward], flag: GradFlag) -> set[Atom]:
    """The modules that computed with gradients off what a flag makes a leaf."""
    reached = demands.ancestors(run, flag.target.atoms)
    off = (forward for forward in forwards if forward.modes.off and forward.result.atoms & reached)
    return {atom for forward in off for atom in forward.module.atoms}


def read(run: Run) -> set[Atom]:
    """The modules the gradients of whose parameters a body reads, for more than whether there are any."""
    found, looked_at = set[Atom](), set[ir.Ref]()
    events = list(run.body.graph.events())
    for event in events:
        if isinstance(event, ir.Compare) and is_none(run, event.right):
            looked_at.add(event.left)
    for event in events:
        if isinstance(event, ir.Attr) and event.name == "grad" and event.dst not in looked_at and event.obj >= 0:
            parameters = (atom for atom in run.temps[event.obj] if isinstance(atom, Sym) or is_parameter(atom))
            found |= {holder for atom in parameters for holder in lineage(atom) if holder is not atom}
    return found


def is_parameter(atom: Atom) -> bool:
    """Whether an atom is a parameter of a module."""
    return isinstance(atom, Obj) and atom.type == PARAMETER


def is_none(run: Run, ref: ir.Ref) -> bool:
    """Whether a temporary is None for certain."""
    return ref >= 0 and all(isinstance(atom, Literal) and atom.value is None for atom in run.temps[ref])


def stepped(program: Program, run: Run) -> set[Atom]:
    """The modules whose optimizers a body steps."""
    optimizers = {atom for step in run.recorder.all(Step) for atom in step.optimizer.atoms}
    return {module for optimizer in optimizers for module in program.owners.get(optimizer) or ()}


def recorded(program: Program) -> set[Atom]:
    """The modules that some body of the file runs with gradients on."""
    runs = (run for run in program.runs.values() if run is not None)
    forwards = (forward for run in runs for forward in run.recorder.all(Forward) if not forward.modes.off)
    return {atom for forward in forwards for atom in forward.module.atoms}
