"""Modules that are frozen from the start: the extractor of a loss, the average of a model, a teacher that is loaded.

Whoever makes an instance of a class finds frozen what the constructor freezes, itself or a part that it holds; and
whoever calls a function, what that freezes and returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Cls, Obj, Sym
from gradlint.facts import AttributeWrite
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.forwards import parameterless
from gradlint.project.leaves.freezing import Freezing
from gradlint.project.values import asked

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
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


def is_made_frozen(program: Program, tracer: Tracer, atom: Atom) -> bool:
    """Return whether an object is an instance that its class makes frozen, or was returned so by a function."""
    if not isinstance(atom, Obj):
        return False
    if atom.cls is not None and WHOLE in parts(program, tracer, atom.cls):
        return True
    function = program.returned_by.get(atom)
    return function is not None and returned(program, tracer, function)


def returned(program: Program, tracer: Tracer, body: Body) -> bool:
    """Return whether all that a function returns is frozen, for those who ask for nothing else."""
    told = program.stubs.data(body)
    if told is not None:
        return told.frozen
    if body not in program.returns_frozen:
        program.returns_frozen[body] = False  # as long as this is under way
        run = program.run(body, grad_mode.INHERITED) if body.kind == "function" else None
        program.returns_frozen[body] = run is not None and run.complete and _returned(program, tracer, run)
    return program.returns_frozen[body]


def _returned(program: Program, tracer: Tracer, run: Run) -> bool:
    value = {atom for group in run.returned.values() for one in group for atom in one.value}
    open_ones = {atom for atom in value if not is_made_frozen(program, tracer, atom)}
    if not value or not open_ones or not all(isinstance(atom, Obj) for atom in value):
        return bool(value) and not open_ones
    reading = Freezing(program, tracer, run)
    ways_out = reading.events(ir.Return)
    frozen = {
        freeze.frozen
        for freeze in reading.whole
        if _is_default(program, run, reading, freeze) and all(reading.is_kept(freeze, out) for out in ways_out)
    }
    return open_ones <= frozen


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
