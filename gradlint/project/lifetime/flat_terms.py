"""Terms of a loss that are constants, because they are computed from gradients that have no graph of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import GRAD, Literal, Obj, Sym, Value
from gradlint.ir import events as ir
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

PENALTY = re.compile(r"penalty|(?:^|_)(?:gp|pen|reg|r1|r2)(?:_loss|_penalty|$)|regulari[sz]", re.IGNORECASE)
"""Functions by these names compute a term of a loss."""


class FlatTerms:
    """Such terms in one body."""

    def __init__(self, known: Definitions, run: Run) -> None:
        self.known, self.run = known, run

    def of(self, target: ir.Ref) -> Iterator[ir.Call]:
        """The calls of ``autograd.grad`` that the constant terms of ``target`` are computed from."""
        for term in self._terms(target):
            if self._is_flat(term):
                yield from self._gradients(self._value(term))

    def behind(self, value: Value) -> Iterator[ir.Call]:
        """The calls of ``autograd.grad`` that a constant is computed from."""
        if self._is_plain(value):
            yield from self._gradients(value)

    def _terms(self, target: ir.Ref) -> Iterator[ir.Ref]:
        """The temporaries that are added up to ``target``, on any path."""
        pending, seen = [target], set[ir.Ref]()
        while pending:
            ref = pending.pop()
            event = self.known.makers.get(ref)
            if ref in seen or event is None:
                continue
            seen.add(ref)
            if isinstance(event, ir.Load):
                pending.extend(store.src for store in self.known.assigning(event))
            elif isinstance(event, ir.Binary) and event.op in ("+", "-"):
                pending += [event.left, event.right]
            elif isinstance(event, ir.Augment) and event.op in ("+", "-"):
                pending += [event.target, event.value]
            yield ref

    def _is_flat(self, ref: ir.Ref) -> bool:
        """Whether a temporary is a constant that was computed from gradients, weighted by a number at most."""
        event = self.known.makers.get(ref)
        if self._is_plain(self._value(ref)):
            return True
        if isinstance(event, ir.Load):
            stores = self.known.assigning(event)
            return len(stores) == 1 and self._is_flat(stores[0].src)
        if isinstance(event, ir.Binary) and event.op in ("*", "/"):
            sides = (event.left, event.right) if event.op == "*" else (event.left,)
            other = event.right if self._is_plain(self._value(event.left)) else event.left
            return any(self._is_flat(side) for side in sides) and self._is_weight(self._value(other))
        return False

    def _value(self, ref: ir.Ref) -> Value:
        return self.run.temps[ref] if ref >= 0 else frozenset()

    def _is_plain(self, value: Value) -> bool:
        """Whether a value has no graph for certain, though nobody has cut it."""
        made = [atom for atom in value if not isinstance(atom, Literal)]
        return bool(made) and all(self.run.plain.get(atom) == tensor.PLAIN for atom in made)

    def _is_weight(self, value: Value) -> bool:
        """Whether a value is a number, or something handed in that may well be one."""
        return all(isinstance(atom, (Literal, Sym)) or self.run.plain.get(atom) == tensor.PLAIN for atom in value)

    def _gradients(self, value: Value) -> Iterator[ir.Call]:
        """The calls of this body that have computed the gradients which ``value`` is computed from."""
        for atom in demands.ancestors(self.run, value):
            event = atom.event if isinstance(atom, Obj) and atom.type == GRAD else None
            if isinstance(event, ir.Call) and event in self.known.blocks:
                yield event


def is_penalty(body: Body) -> bool:
    """Whether a function, or the class that it is the ``forward`` of, computes a term of a loss by its name."""
    cls = body.parent if body.name in ("forward", "__call__") and body.parent is not None else None
    return PENALTY.search(cls.name if cls is not None and cls.kind == "class" else body.name) is not None
