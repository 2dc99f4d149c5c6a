"""Traces of code that relies on gradients being off: `torch.jit.trace` keeps no grad mode (facts: GM42)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Fn, Obj
from gradlint.facts.modes import FlatTransform
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.modes.reentry import is_flat

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

TRACES = frozenset(("torch.jit.trace",))


def traces(program: Program, run: Run, definitions: Definitions) -> Iterator[FlatTransform]:
    """Yield the traces in one body of functions and modules all of whose result is computed with gradients off."""
    for call in definitions.events(ir.Call):
        given = next((ref for name, ref in call.keywords if name == "func"), call.args[0] if call.args else -1)
        if call.func < 0 or given < 0:
            continue
        names = {atom.name if isinstance(atom, Api) else "" for atom in run.temps[call.func]}
        if not names or not names <= TRACES:
            continue
        functions = [code_of(program, atom) for atom in run.temps[given]]
        if functions and all(fn is not None and is_flat(program, fn) for fn in functions):
            body = next(fn.body for fn in functions if fn is not None)
            because = ((body.name_span, "turns gradients off"),)
            yield FlatTransform(call.span, f"{run.labels[call.func]}(...)", run.labels[given] or body.name, because)


def code_of(program: Program, atom: Atom) -> Fn | None:
    """The function that a trace runs: of a module of the project its ``forward``."""
    if isinstance(atom, Fn):
        return atom
    cls = atom.cls if isinstance(atom, Obj) else None
    return classes.own_function(program, cls, "forward") if cls is not None else None
