"""Parameters that change between a checkpoint and the backward that runs its function again (facts: CK01d)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Fn, Obj, Sym
from gradlint.facts import Edit, Forward, Step
from gradlint.facts.functions import EditedCheckpoint
from gradlint.ir import events as ir
from gradlint.project.functions.checkpoints import CHECKPOINT
from gradlint.project.modes.decorations import known_run
from gradlint.project.values import demands
from gradlint.project.values.aliases import Aliases, following

if TYPE_CHECKING:
    from gradlint.facts import Backward
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

DEEPEST = 8
"""How many owners above a parameter are looked at."""


def edited_checkpoints(
    program: Program, tracer: Tracer, run: Run, backwards: list[Backward]
) -> Iterator[EditedCheckpoint]:
    """The edits and steps of one body that change what a checkpoint will run again."""
    if not backwards:
        return
    calls = list(of_checkpoint(run, tracer.definitions(run.body)))
    if not calls:
        return
    changes = [*own_edits(run, tracer.definitions(run.body)), *steps(program, run)]
    for call in calls:
        modules = run_inside(program, run.temps[call.args[0]])
        for span, name, loops, changed in changes:
            used = next((one for one in backwards if is_between(tracer, run, call, span, loops, one)), None)
            if used is not None and changed & modules:
                label = run.labels[call.args[0]]
                yield EditedCheckpoint(span, name, "" if "<" in label else label, call.span, used.span)


def of_checkpoint(run: Run, definitions: Definitions) -> Iterator[ir.Call]:
    """The calls of `checkpoint`."""
    for event in definitions.events(ir.Call):
        value = run.temps[event.func] if event.func >= 0 else frozenset()
        if event.args and any(isinstance(atom, Api) and atom.name == CHECKPOINT for atom in value):
            yield event


def run_inside(program: Program, value: frozenset[Atom]) -> set[Atom]:
    """The modules that a checkpoint runs: what it is given, or what a function that it is given calls."""
    found = set[Atom]()
    for atom in value:
        inner = known_run(program, atom.body) if isinstance(atom, Fn) else None
        for forward in inner.recorder.all(Forward) if inner is not None else ():
            found |= forward.module.atoms
        if isinstance(atom, (Obj, Sym)):
            found.add(atom)
    return found


def own_edits(run: Run, definitions: Definitions) -> Iterator[tuple[ir.Span, str, tuple[int, ...], set[Atom]]]:
    """The edits of the body with gradients off, or through ``data``, and the owners of what they write."""
    aliases = Aliases(definitions, run)
    for edit in run.recorder.all(Edit):
        if edit.inside is None and edit.called is None and (edit.modes.off or not edit.target.attached):
            found = set[Atom]()
            for atom in written(run, definitions, aliases, edit):
                found |= owners(atom)
            yield edit.span, edit.target.name, edit.loops, found


def written(run: Run, definitions: Definitions, aliases: Aliases, edit: Edit) -> frozenset[Atom]:
    """What an edit writes: of ``w.data`` that is ``w``."""
    event = aliases.events.get(edit.span)
    ref = aliases.edited(event) if event is not None else None
    maker = definitions.makers.get(ref) if ref is not None else None
    if isinstance(maker, ir.Attr) and maker.name == "data":
        return run.temps[maker.obj]
    return edit.target.atoms


def owners(atom: Atom | None) -> set[Atom]:
    """What an atom is an attribute of, and so on."""
    found = set[Atom]()
    for _ in range(DEEPEST):
        atom = atom.owner if isinstance(atom, Obj) else atom.parent if isinstance(atom, Sym) else None
        if atom is None:
            break
        found.add(atom)
    return found


def steps(program: Program, run: Run) -> Iterator[tuple[ir.Span, str, tuple[int, ...], set[Atom]]]:
    """The steps of optimizers, and the modules whose parameters they have."""
    for step in run.recorder.all(Step):
        owned = set[Atom]().union(*(program.owners.get(atom, frozenset()) for atom in step.optimizer.atoms))
        if owned and not step.closure:
            yield step.span, step.variable or step.optimizer.name, step.loops, owned


def is_between(
    tracer: Tracer, run: Run, call: ir.Call, span: ir.Span, loops: tuple[int, ...], backward: Backward
) -> bool:
    """Whether a change stands behind a checkpoint and before a backward pass through it."""
    definitions = tracer.definitions(run.body)
    if not call.span < span < backward.span or definitions.loops(call) != backward.loops:
        return False
    made = frozenset(atom for atom in run.temps[call.dst] if isinstance(atom, Obj))
    later = definitions.calls.get(backward.span)
    reached = later is not None and later in following(definitions, call, frozenset())
    return bool(made) and reached and made <= demands.ancestors(run, frozenset(backward.target.atoms))
