"""``detach_`` of a tensor that a caller has handed in, where what it returns is used as if it were a copy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.edits.argument_edits import RESULT, may_be_asked

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.values.definitions import Definitions

DEEPEST = 6
"""So many names, loops and indices between a parameter and what is detached are looked through."""
MEANT = re.compile(r"_$|in_?place|detach|repackage|truncat|freeze|backward|hook")
"""Names of functions that are there to detach what they are given."""
CARRIED = re.compile(r"(?:^|_)(?:hiddens?|h|c|carry|hx|cell|mems?|ctx|losses|loss)(?:_|$|\d)")
"""Names of what is carried from step to step, or done with."""


def lent(program: Program, definitions: Definitions, call: ir.Span) -> str:
    """The parameter that the call of ``detach_`` takes off its caller's graph; empty if nothing shows that it is none.

    A call whose value nobody uses is there to detach the caller's tensor.
    """
    event = definitions.calls.get(call)
    method = definitions.makers.get(event.func) if event is not None else None
    body = definitions.body
    if event is None or not isinstance(method, ir.Attr) or body.kind != "function" or may_be_asked(definitions):
        return ""
    plain = body.name.replace("__init__", "init")
    if not plain.isidentifier() or MEANT.search(plain) or is_of_function(program, definitions):
        return ""
    if all(isinstance(reader, ir.Discard) for reader in definitions.readers.get(event.dst, ())):
        return ""
    name = handed_in(definitions, method.obj)
    known = {parameter.name for parameter in body.parameters[classes.is_method(body) :]}
    return "" if name not in known or RESULT.search(name) or CARRIED.search(name) else name


def handed_in(definitions: Definitions, ref: ir.Ref) -> str:
    """The variable that holds a tensor, or the collection that it is taken from, since the function was entered."""
    for _ in range(DEEPEST):
        maker = definitions.makers.get(ref)
        if isinstance(maker, ir.Load):
            stores = definitions.assigning(maker)
            if not stores:
                return maker.name
            if len(stores) > 1 or None in definitions.seen.get(maker, frozenset()):
                return ""
            ref = stores[0].src
        elif isinstance(maker, (ir.Next, ir.Iterate)):
            ref = maker.iterator if isinstance(maker, ir.Next) else maker.src
        elif isinstance(maker, ir.Item):
            ref = maker.obj
        else:
            return ""
    return ""


def is_of_function(program: Program, definitions: Definitions) -> bool:
    """Whether a body is a method of a custom autograd function, whose arguments have no graph."""
    parent = definitions.body.parent
    cls = program.classes.get(parent) if parent is not None else None
    return cls is not None and classes.is_function(cls)
