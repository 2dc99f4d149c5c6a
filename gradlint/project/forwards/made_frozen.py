"""Modules that are frozen from the start: the extractor of a loss, the average of a model.

Whoever makes an instance of a class finds frozen what the constructor freezes, itself or a part that it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Cls, Sym
from gradlint.facts import AttributeWrite
from gradlint.project import classes
from gradlint.project.forwards import parameterless
from gradlint.project.leaves.freezing import Freezing
from gradlint.project.values import asked

if TYPE_CHECKING:
    from gradlint.project.leaves.freezing import Freeze
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

WHOLE = ""
"""In place of the name of a part: the instance with all its parts."""


def parts(program: Program, tracer: Tracer, cls: Cls) -> frozenset[str]:
    """Return the attributes of instances of ``cls`` that it makes frozen, `WHOLE` among them if all of it is.

    The nearest class counts that has a constructor: what one above it freezes, this may add to.
    """
    if cls not in program.made_frozen:
        program.made_frozen[cls] = frozenset()  # as long as this is under way
        program.made_frozen[cls] = _parts(program, tracer, cls)
    return program.made_frozen[cls]


def _parts(program: Program, tracer: Tracer, cls: Cls) -> frozenset[str]:
    for base in classes.lineage(cls):
        told = program.stubs.class_data(base.body) if isinstance(base, Cls) else None
        if told is not None and "__init__" in told.methods:
            return frozenset(told.frozen)
        constructor = parameterless.own(program, base, "__init__") if isinstance(base, Cls) else None
        run = program.run(constructor.body, grad_mode.INHERITED) if constructor is not None else None
        if run is not None:
            return frozenset(_by_constructor(program, tracer, run, cls)) if run.complete else frozenset()
    return frozenset()


def _by_constructor(program: Program, tracer: Tracer, run: Run, cls: Cls) -> Iterator[str]:
    """What a constructor freezes unless it is asked not to."""
    reading = Freezing(program, tracer, run)
    found = [freeze for freeze in reading.whole if _is_default(program, run, reading, freeze)]
    instance, frozen = program.receiver(run.body), {freeze.frozen for freeze in found}
    for write in run.recorder.all(AttributeWrite):
        if instance in write.target.atoms and write.value.atoms & frozen:
            yield write.name
    for atom in frozen:
        if isinstance(atom, Sym) and atom.parent is instance:
            yield atom.path.rpartition(".")[2]
    last = [freeze for freeze in found if freeze.frozen is instance][-1:]
    whole = bool(last) and not _adds_more(program, run, last[0])
    if whole or (frozen and parameterless.adds_none_but(program, cls, frozen)):
        yield WHOLE


def _is_default(program: Program, run: Run, reading: Freezing, freeze: Freeze) -> bool:
    """Whether something is frozen for those who say nothing about it."""
    block = reading.known.blocks[freeze.anchor].index
    return not asked.denied(program, run.body, asked.of_block(program, run.body, block), {})


def _adds_more(program: Program, run: Run, freeze: Freeze) -> bool:
    """Whether a constructor stores anything that may have parameters after it has frozen all there was."""
    return any(
        freeze.frozen in write.target.atoms
        and write.span > freeze.event.span
        and not all(parameterless.is_plain(program, run.body, atom) for atom in write.value.atoms)
        for write in run.recorder.all(AttributeWrite)
    )
