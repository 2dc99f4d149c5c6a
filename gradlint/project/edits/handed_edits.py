"""Calls of functions that edit an argument and return it, where the caller goes on with both as if they were two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Obj, Sym
from gradlint.facts import Edit
from gradlint.facts.edits import SharedEdit
from gradlint.ir import events as ir
from gradlint.project.edits.argument_edits import argument_edits
from gradlint.project.values.aliases import alias_of, read_after
from gradlint.project.values.call_uses import argument_ref

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Fn
    from gradlint.facts.edits import ArgumentEdit
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer


def handed_edits(program: Program, tracer: Tracer, run: Run) -> Iterator[SharedEdit]:
    """The calls that edit an argument which is read afterwards beside the result."""
    known = set()
    for local in run.recorder.local_calls():
        if local.span in known:
            continue
        known.add(local.span)
        definitions = tracer.definitions(run.body)
        call = definitions.calls.get(local.span)
        inner = program.runs.get((local.fn.body, grad_mode.INHERITED))
        if call is None or inner is None or not inner.complete:
            continue
        for argument in argument_edits(tracer.definitions, inner, inner.recorder.all(Edit)):
            found = shared(definitions, run, local.fn, inner, call, argument)
            if found is not None:
                yield found


def shared(
    definitions: Definitions, run: Run, fn: Fn, inner: Run, call: ir.Call, argument: ArgumentEdit
) -> SharedEdit | None:
    """The edit as the caller sees it, if the function always makes it and returns what it has edited."""
    ref = argument_ref(fn, call, argument.parameter)
    alias = alias_of(definitions, ref) if ref is not None else None
    if ref is None or alias is None or alias.kind != "same" or not is_returned(inner, argument):
        return None
    readers = definitions.readers.get(call.dst, ())
    if all(isinstance(one, ir.Discard) or getattr(one, "name", "") == alias.variable for one in readers):
        return None
    read = read_after(definitions, call, alias.variable)
    if read is None:
        return None
    target = argument.edit.target
    shown = Edit(
        call.span,
        argument.edit.modes,
        definitions.loops(call),
        definitions.blocks[call].index,
        target.__class__(alias.variable, call.span, run.temps[ref], target.graph),
        fn.body.name,
        False,
        called=call.span,
    )
    return SharedEdit(shown, "result", alias.variable, read.span)


def is_returned(inner: Run, argument: ArgumentEdit) -> bool:
    """Whether every way through a function edits its argument, and returns it."""
    values = [one.value for group in inner.returned.values() for one in group]
    always = argument.edit.block in inner.unconditional()
    return bool(values) and always and all(is_edited(atom, argument) for value in values for atom in value)


def is_edited(atom: Atom, argument: ArgumentEdit) -> bool:
    """Whether something is the argument, or what ``argument -= x`` has made of it."""
    if isinstance(atom, Sym):
        return atom.path == argument.parameter
    return isinstance(atom, Obj) and atom.event.span == argument.edit.span
