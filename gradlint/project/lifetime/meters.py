"""Meters out of sight that are given a tensor where they get numbers otherwise.

A name says that something adds up what it is given. Whether it takes the number out of a tensor by itself stands in
another file; whoever gives it `loss.item()` elsewhere says that it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gradlint.domains.values import CONTAINER, Api, Fn, Obj
from gradlint.ir import events as ir
from gradlint.project.lifetime.growing import spelled_ref
from gradlint.project.lifetime.numbers import is_number
from gradlint.project.lifetime.received import built
from gradlint.project.values.uses import owner_of
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

Name: TypeAlias = "tuple[object, ...]"

TAKES = re.compile(r"^_*(?:update|add|append|push|accumulate|put|record|store|collect|track)(?:_|$)")
"""Names of methods with which a meter takes a value."""
LOGS = re.compile(r"logger|writer", re.IGNORECASE)
"""Names of what makes text or plots of what it is given: it takes the numbers out itself."""
DETACHES = re.compile(r"^(?:torchmetrics|torcheval|ignite|lightning|pytorch_lightning|accelerate)(?:\.|$)")
"""Packages whose meters take tensors off the graph."""


class Meter(NamedTuple):
    """A call that gives something to a meter. ``names``: what the same meter, or one made alike, goes by elsewhere."""

    call: ir.Call
    names: frozenset[Name]
    loops: frozenset[int]
    """The loops that the meter outlives."""
    own: bool
    """It belongs to the object whose method this is."""


class Meters:
    """The meters of one file whose code is out of sight."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self._given: dict[Body, list[tuple[Meter, list[ir.Ref], ir.Span]]] = {}

    def given(self, body: Body) -> list[tuple[Meter, list[ir.Ref], ir.Span]]:
        """The calls in a body that give a meter something else than a number, what they give, and where it gets one."""
        if body not in self._given:
            self._given[body] = list(self._not_numbers(body))
        return self._given[body]

    def _not_numbers(self, body: Body) -> Iterator[tuple[Meter, list[ir.Ref], ir.Span]]:
        known = self.tracer.definitions(body)
        for meter in self._calls(body):
            span = next((self._numbers[name] for name in sorted(meter.names, key=str) if name in self._numbers), None)
            refs = [ref for ref in given(known, meter.call) if not is_number(known, ref)]
            if span is not None and refs:
                yield meter, refs, span

    @cached_property
    def _numbers(self) -> dict[Name, ir.Span]:
        """By what a meter goes by, where it gets a number or something off the graph."""
        found: dict[Name, ir.Span] = {}
        # A number for a meter of a function says more than one for an attribute of the same name.
        for body in sorted(self.tracer.program.module.inside(), key=lambda body: len([*body.around()])):
            known = self.tracer.definitions(body)
            for meter in self._calls(body):
                if any(is_number(known, ref) for ref in given(known, meter.call)):
                    for name in meter.names:
                        found.setdefault(name, meter.call.span)
        return found

    def _calls(self, body: Body) -> Iterator[Meter]:
        known = self.tracer.definitions(body)
        for method in known.attributes:
            if TAKES.search(method.name):
                for call in known.readers.get(method.dst, ()):
                    if isinstance(call, ir.Call) and call.func == method.dst:
                        yield from self._meter(body, known, method, call)

    def _meter(self, body: Body, known: Definitions, method: ir.Attr, call: ir.Call) -> Iterator[Meter]:
        places = dict(self._places(body, known, method.obj))
        words = [str(part) for place in places for part in place]
        if not any(map(roles.METER.search, words)) or any(map(LOGS.search, words)):
            return
        if any(isinstance(atom, (Fn, Api)) for atom in self.tracer.value(body, call.func)):
            return
        if any(map(is_known, self.tracer.value(body, method.obj))):
            return
        around = frozenset(known.loops(call))
        inside = frozenset(loop for loops in places.values() for loop in loops)
        maker = known.makers.get(method.obj)
        own = isinstance(maker, ir.Attr) and owner_of(self.tracer, body, maker.obj) is not None
        yield Meter(call, frozenset((method.name, *place) for place in places), around - inside, own)

    def _places(self, body: Body, known: Definitions, ref: ir.Ref) -> Iterator[tuple[Name, tuple[int, ...]]]:
        """What a meter goes by: its variable or attribute, and how it was made; each with the loops it is made in."""
        maker = known.makers.get(ref)
        while isinstance(maker, ir.Item):
            maker = known.makers.get(maker.obj)
        if isinstance(maker, ir.Attr):
            owner = owner_of(self.tracer, body, maker.obj)
            if owner is not None:
                yield ("attribute", owner.qualname, maker.name), ()
                yield from (((*made,), ()) for made in self._made_for(owner, maker.name))
        elif isinstance(maker, ir.Load):
            yield ("variable", body.qualname, maker.name), ()
            for store in known.assigning(maker):
                if (made := made_by(known, store.src)) is not None:
                    yield made, known.loops(store)

    def _made_for(self, owner: Body, name: str) -> Iterator[Name]:
        for method in self.tracer.methods(owner):
            known = self.tracer.definitions(method)
            for event in known.events(ir.SetAttr):
                if event.name == name and (made := made_by(known, event.src)) is not None:
                    yield made


def is_known(atom: object) -> bool:
    """Whether something is a container of Python, or of a package whose meters take tensors off the graph."""
    if isinstance(atom, Obj):
        return atom.type == CONTAINER or DETACHES.search(atom.type) is not None
    return isinstance(atom, Api)


def made_by(known: Definitions, ref: ir.Ref) -> Name | None:
    """How the source writes what makes a meter."""
    maker = known.makers.get(ref)
    if isinstance(maker, ir.Unpack) and isinstance(whole := known.makers.get(maker.src), ir.Build):
        inside = maker.index is not None and maker.index < len(whole.items) and not whole.starred
        maker = known.makers.get(whole.items[maker.index]) if inside and maker.index is not None else None
    return ("made", *spelled_ref(known, maker.func)) if isinstance(maker, ir.Call) else None


def given(known: Definitions, call: ir.Call) -> Iterator[ir.Ref]:
    """What a call is given, one by one if that stands in a dict or a list that is written out."""
    for ref in (*call.args, *(value for _, value in call.keywords)):
        maker = built(known, ref)
        if isinstance(maker, ir.Build) and maker.kind in ("dict", "list", "tuple"):
            yield from maker.items
        else:
            yield ref
