"""What a value may be in whole, on some path: a number, or a fresh tensor of numbers, without a graph.

A sum is a constant where all its terms are, a product where its factors are. What a function of the file returns is
looked at in the same way. What a condition about the mode of a module, or about an argument that was left out, chooses
is not counted: the caller knows which it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Api, Fn, Obj, Sym
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.torch_model import copying_factories, factories

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

NEW = frozenset("new_zeros new_tensor new_full new_ones new_empty".split())
SAME = frozenset("to cuda cpu float double half type_as mean sum squeeze view reshape clone contiguous".split())
"""Methods of a constant tensor that return another one."""
WEIGHT = re.compile(
    r"weight|coeff?(?:$|_|icient)|(?:^|[_.])(?:alpha|beta|gamma|delta|lambda_?|lamb?d?a?|lmbda|eps|ratio|factor|scale|w)"
    r"(?:_|\d|$)|_(?:ratio|factor|scale|w|lambda|alpha|beta|gamma)$",
    re.IGNORECASE,
)
"""Names of the numbers that losses are weighted with."""
NUMBERS = frozenset({"float", "int"})
DEEPEST = 12
"""How far back values are followed."""


class Constant(NamedTuple):
    """A constant: the event that makes it, and the body in which that stands."""

    body: Body
    event: ir.Event


class Parts(NamedTuple):
    """The constants that a value may be, and whether it may be something else."""

    constants: tuple[Constant, ...]
    others: bool


OTHER = Parts((), True)


class FreshConstants:
    """The constants that values of one file may be."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program, self.tracer = program, tracer
        self._found: dict[tuple[Body, ir.Ref, int | None], Parts] = {}

    def of(self, body: Body, ref: ir.Ref, part: int | None = None, depth: int = 0) -> Parts:
        """What a temporary may be; ``part``: what stands at that position of it."""
        asked = (body, ref, part)
        if asked not in self._found:
            self._found[asked] = OTHER  # where it is computed from itself
            self._found[asked] = self._of(body, ref, part, depth)
        return self._found[asked]

    def _of(self, body: Body, ref: ir.Ref, part: int | None, depth: int) -> Parts:
        known = self.tracer.definitions(body)
        event = known.makers.get(ref)
        if depth > DEEPEST or event is None:
            return OTHER
        if isinstance(event, ir.Load):
            return self._of_variable(body, known, event, part, depth)
        if isinstance(event, ir.Build):
            written = event.kind == "tuple" and part is not None and not event.starred and part < len(event.items)
            return self.of(body, event.items[part], None, depth + 1) if written and part is not None else OTHER
        if isinstance(event, ir.Call) and (part is not None or not is_constant(self.tracer, known, body, ref)):
            return self._of_call(body, known, event, part, depth)
        if part is not None:
            return OTHER
        if isinstance(event, ir.Copy):
            arms = [copy for copy in known.events(ir.Copy) if copy.dst == ref]
            return joined(self.of(body, arm.src, None, depth + 1) for arm in arms)
        if isinstance(event, ir.Unpack) and event.index is not None:
            return self.of(body, event.src, event.index, depth + 1)
        if isinstance(event, ir.Unary) and event.op in ("-", "+"):
            return self.of(body, event.src, None, depth + 1)
        if isinstance(event, ir.Binary):
            return self._of_operands(body, event, depth)
        number = isinstance(event, ir.Const) and isinstance(event.value, (int, float)) and event.value is not True
        return Parts((Constant(body, event),), False) if number or isinstance(event, ir.Call) else OTHER

    def _of_variable(self, body: Body, known: Definitions, load: ir.Load, part: int | None, depth: int) -> Parts:
        """What the assignments make; one that others build on is no end of its own."""
        stores = known.assigning(load)
        if not stores or len(stores) != len(known.seen.get(load, ())):
            return OTHER
        found = {store: self.of(body, store.src, part, depth + 1) for store in stores}
        order = self.tracer.order(body)
        around = {known.loops(store) for store in stores}
        for store, parts in found.items():
            if parts.constants and (len(around) > 1 or any(order.leads(store, o) for o in stores if o is not store)):
                found[store] = Parts((), True)
        return joined(found.values())

    def _of_operands(self, body: Body, event: ir.Binary, depth: int) -> Parts:
        sides = [event.left, event.right]
        if event.op in ("*", "/"):
            sides = [side for side in sides if not self._is_weight(body, side)]
        elif event.op in ("+", "-"):
            sides = [side for side in sides if not self.tracer.is_plain(body, side)]
        else:
            return OTHER
        found = [self.of(body, side, None, depth + 1) for side in sides]
        if not found or not all(parts.constants for parts in found):
            return OTHER
        return Parts(found[0].constants, any(parts.others for parts in found))

    def _is_weight(self, body: Body, ref: ir.Ref) -> bool:
        """Whether a temporary is a number, or has the name of one."""
        event = self.tracer.definitions(body).makers.get(ref)
        if isinstance(event, ir.Binary):
            return all(self._is_weight(body, side) for side in (event.left, event.right))
        if self.tracer.is_plain(body, ref):
            return True
        value = self.tracer.value(body, ref)
        typed = all(isinstance(atom, Sym) and atom.annotation in NUMBERS for atom in value)
        named = isinstance(event, (ir.Load, ir.Attr)) and WEIGHT.search(event.name) is not None
        return bool(value) and (typed or named)

    def _of_call(self, body: Body, known: Definitions, call: ir.Call, part: int | None, depth: int) -> Parts:
        """What functions of the file return, or a method of what is a constant already."""
        bodies = self.callees(body, call)
        if bodies:
            return joined(self._of_function(callee, part, depth) for callee in bodies)
        method = known.makers.get(call.func)
        if isinstance(method, ir.Attr) and method.name in SAME and part is None:
            return self.of(body, method.obj, None, depth + 1)
        return OTHER

    def callees(self, body: Body, call: ir.Call) -> list[Body]:
        """The functions of the file that are surely called."""
        found = []
        for atom in self.tracer.value(body, call.func):
            fn = atom if isinstance(atom, Fn) else None
            if isinstance(atom, Obj) and atom.cls is not None:
                fn = classes.own_function(self.program, atom.cls, "forward")
            if fn is None or self.program.stubs.data(fn.body) is not None or fn.body.is_generator:
                return []
            found.append(fn.body)
        return found

    def _of_function(self, body: Body, part: int | None, depth: int) -> Parts:
        known = self.tracer.definitions(body)
        returns = [event for event in known.events(ir.Return) if event.src is not None]
        found = joined(self.of(body, out.src, part, depth + 1) for out in returns if out.src is not None)
        constants = (one for one in found.constants if one.body is not body or not self._is_chosen(body, one.event))
        return Parts(tuple(constants), found.others)

    def _is_chosen(self, body: Body, constant: ir.Event) -> bool:
        """Whether a constant stands behind conditions of which the caller knows how they end."""
        known, order = self.tracer.definitions(body), self.tracer.order(body)
        surely = [assume for assume in known.events(ir.Assume) if order.precedes(assume, constant)]
        nearest = leading_to(known, constant)
        asked = [asks_for_mode(known, assume.cond) for assume in nearest]
        return any(asks_for_mode(known, assume.cond) for assume in surely) or (bool(asked) and all(asked))


def joined(found: Iterable[Parts]) -> Parts:
    """Any of several."""
    parts = list(found)
    constants = dict.fromkeys(one for each in parts for one in each.constants)
    return Parts(tuple(constants), not parts or any(each.others for each in parts))


def leading_to(known: Definitions, event: ir.Event) -> list[ir.Assume]:
    """The nearest conditions in front of an event, on each path to it."""
    blocks, start = known.body.graph.blocks, known.blocks[event]
    before: dict[int, list[int]] = {}
    for block in blocks:
        for index in block.successors:
            before.setdefault(index, []).append(block.index)
    pending, seen, found = [start.index], set[int](), list[ir.Assume]()
    while pending:
        index = pending.pop()
        if index in seen:
            continue
        seen.add(index)
        assumes = [one for one in blocks[index].events if isinstance(one, ir.Assume)]
        if assumes:
            found.append(assumes[0])
        else:
            pending += before.get(index, [])
    return found


def asks_for_mode(known: Definitions, ref: ir.Ref) -> bool:
    """Whether a condition asks whether a module is in training, whether something is None, or what type it has."""
    for event in parts_of(known, ref):
        if isinstance(event, (ir.Attr, ir.Load)) and event.name in ("training", "is_training", "train", "isinstance"):
            return True
        if isinstance(event, ir.Const) and event.value is None:
            return True
    return False


def names_in(known: Definitions, ref: ir.Ref) -> set[str]:
    """The variables that a condition reads."""
    return {event.name for event in parts_of(known, ref) if isinstance(event, ir.Load)}


def parts_of(known: Definitions, ref: ir.Ref) -> Iterator[ir.Event]:
    """What a condition is written with."""

    def further(event: ir.Event) -> list[ir.Ref]:
        return known.sources(event) if not isinstance(event, ir.Load) else []

    return known.behind(ref, further)


def is_constant(tracer: Tracer, known: Definitions, body: Body, ref: ir.Ref) -> bool:
    """Whether a value is surely a tensor that is made of numbers, without a gradient of its own."""
    event = known.makers.get(ref)
    if isinstance(event, ir.Load):
        only = known.only(event)
        alone = only is not None and len(known.loads.get(only, ())) == 1
        return only is not None and alone and is_constant(tracer, known, body, only.src)
    if not isinstance(event, ir.Call) or any(name is None for name, _ in event.keywords):
        return False
    method = known.makers.get(event.func)
    callees = tracer.value(body, event.func)
    names = [atom.name for atom in callees if isinstance(atom, Api)]
    if names and len(names) == len(callees):
        made = all(name in factories() or name in copying_factories() for name in names)
    else:
        made = isinstance(method, ir.Attr) and method.name in NEW
    return made and all(is_written_out(tracer, known, body, ref) for ref in event.args[:1])


def is_written_out(tracer: Tracer, known: Definitions, body: Body, ref: ir.Ref) -> bool:
    """Whether an argument is a number, or a list or tuple of numbers."""
    event = known.makers.get(ref)
    if isinstance(event, ir.Build) and event.kind in ("list", "tuple"):
        return all(is_written_out(tracer, known, body, item) for item in event.items)
    return tracer.is_plain(body, ref)
