"""Values of a program as the plain data of `gradlint.linking.interface`, in terms of the parameters of a body."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from gradlint.domains import tensor
from gradlint.domains.values import (
    CONTAINER,
    INSTANCE,
    ITERATOR,
    SCALAR,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Obj,
    Sym,
    Tuple,
    Value,
)
from gradlint.linking import interface as told
from gradlint.project import members

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Returned

Locate = Callable[["ir.Span"], told.Place]
DEEPEST = 3
"""How many tuples and containers inside each other are told of."""
LONGEST = 40
"""A string of more characters is told of as some string."""


class Spelling:
    """Puts the values of one program into plain data."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def things(self, value: Value, body: Body) -> tuple[told.Thing, ...]:
        """A value in terms of the parameters of ``body``."""
        return distinct(self.thing(atom, body, None, 0) for atom in value)

    def thing(self, atom: Atom, body: Body, one: Returned | None, depth: int) -> told.Thing:
        """One atom in terms of the parameters of ``body``; ``one`` knows where objects stood when it returned."""
        if isinstance(atom, (Fn, Cls, Api)):
            name = atom.name if isinstance(atom, Api) else self.id(atom.body)
            bound = isinstance(atom, Fn) and atom.receiver is not None
            return told.Named(name) if name is not None and not bound else told.Anything()
        if isinstance(atom, Literal):
            return constant(atom)
        if isinstance(atom, Tuple) and depth < DEEPEST:
            return told.Several(
                tuple(distinct(self.thing(part, body, one, depth + 1) for part in item) for item in atom.items)
            )
        if isinstance(atom, Context):
            flag = () if atom.flag is msgspec.UNSET else (told.Constant(atom.flag),)
            return told.Made(atom.type, tensor.PLAIN, holds=flag)
        given = self._given(atom, body)
        if given:
            return told.Given(given)
        if isinstance(atom, Obj) and depth < DEEPEST:
            return self._made(atom, body, one, depth)
        return told.Anything()

    def _given(self, atom: Atom, body: Body) -> str:
        """The path of ``atom`` from a parameter of ``body``; empty if it has none."""
        receiver = self.program.receiver(body)
        if receiver is not None and body.parameters:
            name = body.parameters[0].name
            if atom is receiver:
                return name
            if isinstance(atom, Sym) and atom.scope is receiver:
                return f"{name}.{atom.path.partition('.')[2]}"
            attribute = self._attribute_of(atom, receiver) if atom in self.program.attribute_values else ""
            if attribute:
                return f"{name}.{attribute}"
        if isinstance(atom, Sym) and atom.scope is body:
            root = atom.path.partition(".")[0]
            return atom.path if any(parameter.name == root for parameter in body.parameters) else ""
        return ""

    def _attribute_of(self, atom: Atom, receiver: Atom) -> str:
        """The attribute of ``receiver`` that holds ``atom``; empty if none is known to."""
        cls = receiver.cls if isinstance(receiver, Obj) else None
        held = members.held(self.program, cls) if cls is not None else {}
        return next((name for name, value in held.items() if atom in value), "")

    def _made(self, obj: Obj, body: Body, one: Returned | None, depth: int) -> told.Thing:
        of = ""
        if obj.cls is not None:
            of = self.id(obj.cls.body) or ""
            if not of:
                return told.Anything()
        place = one.places.get(obj) if one is not None else None
        graph = place.graph if place is not None else self._graph(obj)
        held = one.contents.get(obj, frozenset()) if one is not None else frozenset()
        holds = distinct(self.thing(atom, body, one, depth + 1) for atom in held)
        modes = self.program.computed_in.get(obj, 0)
        return told.Made(obj.type, graph, of, place.via if place is not None else "", holds, modes)

    def _graph(self, obj: Obj) -> int:
        return tensor.PLAIN if obj.type in (INSTANCE, SCALAR, CONTAINER, ITERATOR) else tensor.ANY

    def id(self, body: Body) -> str | None:
        """The id of a function or class: those at the margin, and what stands in classes there."""
        known = self.program.stubs.id_of(body)
        if known is not None:
            return known
        scope = body.parent
        while scope is not None and scope.kind == "class":
            scope = scope.parent
        if scope is None or scope.kind != "module" or body.kind not in ("function", "class"):
            return None
        return f"{self.program.name}:{body.qualname}"


def distinct(things: Iterable[told.Thing]) -> tuple[told.Thing, ...]:
    """Things, each once, in an order that does not depend on where the values that they tell of lie in memory."""
    return tuple(sorted(set(things), key=repr))


def constant(literal: Literal) -> told.Thing:
    """A constant as data; a number is some number."""
    value = literal.value
    if (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, str) and len(value) <= LONGEST and value.isprintable())
    ):
        return told.Constant(value)
    return told.Made(SCALAR, tensor.PLAIN)


def known_as(body: Body) -> str:
    """The name under which a function is told of; of what has none of its own, where it stands."""
    if body.kind in ("lambda", "genexp"):
        return f"{body.qualname}@{body.span[0]}.{body.span[1]}"
    return body.qualname
