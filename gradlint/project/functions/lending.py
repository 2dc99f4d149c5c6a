"""Tensors that are handed to other libraries by DLPack: what comes of it holds the tensor itself, not a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Fn
from gradlint.ir import events as ir
from gradlint.project.values.definitions import ENTERED

if TYPE_CHECKING:
    from gradlint.project.functions.context_methods import Method
    from gradlint.project.functions.custom_functions import Class
    from gradlint.project.values.definitions import Definitions

EXPORTS = frozenset({"to_dlpack", "from_dlpack", "__dlpack__"})
SAME = frozenset({"contiguous"})
"""Methods whose result is mostly the tensor itself."""
LONGEST = 12


def exported(known: Class, method: Method, ref: ir.Ref) -> Iterator[ir.Ref]:
    """The tensors of a method that stand behind a temporary which another library made of them."""
    callees = {
        call.dst: atom
        for call in method.definitions.events(ir.Call)
        for atom in method.value(call.func)
        if isinstance(atom, Fn) and len(method.value(call.func)) == 1
    }
    for source, lent in behind(method.definitions, ref, lent=False):
        call = method.maker(source)
        if lent:
            yield source
        elif isinstance(call, ir.Call) and source in callees:
            yield from handed_through(known, callees[source], call)


def handed_through(known: Class, fn: Fn, call: ir.Call) -> Iterator[ir.Ref]:
    """The arguments of a call that the function returns as another library has them."""
    definitions = known.definitions_of(fn.body)
    names = [parameter.name for parameter in fn.body.parameters]
    for event in definitions.events(ir.Return):
        for source, lent in behind(definitions, event.src, lent=False) if event.src is not None else ():
            load = definitions.makers.get(source)
            if lent and isinstance(load, ir.Load) and definitions.seen.get(load) == ENTERED and load.name in names:
                position = names.index(load.name)
                yield from call.args[position : position + 1]


def behind(definitions: Definitions, ref: ir.Ref, *, lent: bool) -> Iterator[tuple[ir.Ref, bool]]:
    """The temporaries that a temporary shares its memory with, and whether another library has been given them."""
    pending, seen = [(ref, lent)], set[ir.Ref]()
    while pending and len(seen) < LONGEST:
        ref, lent = pending.pop()
        if ref in seen:
            continue
        seen.add(ref)
        yield ref, lent
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            pending.extend((store.src, lent) for store in definitions.assigning(event))
        elif isinstance(event, ir.Call):
            function = definitions.makers.get(event.func)
            name = function.name if isinstance(function, (ir.Attr, ir.Load)) else ""
            if name in EXPORTS and event.args:
                pending.append((event.args[0], True))
            elif isinstance(function, ir.Attr) and name in SAME | EXPORTS:
                pending.append((function.obj, lent or name in EXPORTS))
