"""Parameters that a module does not get, because what it is given was computed from them (facts: RG07)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, RESULT, TENSOR, Atom, Obj
from gradlint.facts import AttributeWrite
from gradlint.facts.leaves import LostParameter
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.leaves.lost_leaves import is_moved

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

DEEPEST = 4


def lost_parameters(program: Program, tracer: Tracer, run: Run) -> Iterator[LostParameter]:
    """The attributes of modules that are computed from a parameter which nothing holds."""
    for write in run.recorder.all(AttributeWrite):
        value = write.value.atoms
        if write.called or write.compared or not value or not all(_is_computed(atom) for atom in value):
            continue
        if not any(isinstance(atom, Obj) and atom.cls and classes.is_module(atom.cls) for atom in write.target.atoms):
            continue
        known = tracer.definitions(run.body)
        found = _parameter(program, run, known, value)
        if found is None or not all(_changes(run, known, atom) for atom in value):
            continue
        span = write.value.span
        yield LostParameter(span, f"{write.target.name}.{write.name}", found.event.span)


def _is_computed(atom: Atom) -> bool:
    return isinstance(atom, Obj) and atom.type in (TENSOR, RESULT)


def _parameter(program: Program, run: Run, known: Definitions, value: frozenset[Atom]) -> Obj | None:
    """The trainable parameter that a value was computed from, and that only the expression holds."""
    pending = set(value)
    for _ in range(DEEPEST):
        found = [atom for atom in pending if isinstance(atom, Obj) and atom.type == PARAMETER]
        if found:
            event = found[0].event
            readers = known.readers.get(event.dst, ()) if isinstance(event, ir.Call) and event in known.blocks else ()
            held = any(not isinstance(reader, (ir.Attr, ir.Binary, ir.Unary, ir.Item)) for reader in readers)
            trained = program.is_made_to_train(event) is True
            return found[0] if len(found) == 1 and readers and not held and trained else None
        pending = {origin for atom in pending for origin in run.origins.get(atom, ())}
    return None


def _changes(run: Run, known: Definitions, atom: Atom) -> bool:
    """Whether an operation surely returns something else than what it is given."""
    event = atom.event if isinstance(atom, Obj) else None
    if event not in known.blocks:
        return False
    return isinstance(event, (ir.Binary, ir.Unary, ir.Item)) or is_moved(run, known, atom)
