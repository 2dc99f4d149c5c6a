"""Straight-through estimates written the wrong way round: which part of a sum is detached, and which is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.values import Api
from gradlint.facts.targets import ReversedStop
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.values.reading import Reading
from gradlint.torch_model import nondifferentiable, zero_gradient

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

HARD = re.compile(r"hard|quant|one_?hot|binar|round|codes?$|(?:^|_)z_?q|(?:^|_)q$", re.IGNORECASE)
"""Names of what was rounded to one of a few values."""
MAKES_HARD = frozenset("one_hot scatter_ scatter embedding heaviside".split())
MOST_TERMS = 12


class Term(NamedTuple):
    """One term of a sum: its sign, whether it is detached, and what it is."""

    sign: int
    detached: bool
    what: object
    ref: ir.Ref


class Stops(Reading):
    """The sums of one body."""

    def reversed(self) -> Iterator[ReversedStop]:
        """Yield them in source order, of nested sums the outermost."""
        for event in self.events(ir.Binary):
            if event.op not in ("+", "-") or self._is_inner(event) or self._is_off(event):
                continue
            terms = list(self._terms(event.dst, 1, detached=False))
            if 3 <= len(terms) <= MOST_TERMS and len({term.detached for term in terms}) == 2:
                yield from self._judge(event, terms)

    def _is_inner(self, event: ir.Binary) -> bool:
        readers = self.known.readers.get(event.dst, ())
        return any(isinstance(reader, ir.Binary) and reader.op in ("+", "-") for reader in readers)

    def _is_off(self, event: ir.Event) -> bool:
        return bool(self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH)

    def _terms(self, ref: ir.Ref, sign: int, *, detached: bool) -> Iterator[Term]:
        event = self.maker(ref)
        if isinstance(event, ir.Binary) and event.op in ("+", "-"):
            yield from self._terms(event.left, sign, detached=detached)
            yield from self._terms(event.right, sign if event.op == "+" else -sign, detached=detached)
        elif isinstance(event, ir.Unary) and event.op == "-":
            yield from self._terms(event.src, -sign, detached=detached)
        elif (inner := self._detached(event)) is not None:
            yield from self._terms(inner, sign, detached=True)
        else:
            yield Term(sign, detached, self._what(ref), ref)

    def _detached(self, event: ir.Event | None) -> ir.Ref | None:
        """What is detached by an operation, if that is what it does."""
        if isinstance(event, ir.Attr) and event.name == "data":
            return event.obj
        if not isinstance(event, ir.Call):
            return None
        method = self.method(event)
        if self.is_api(event.func, frozenset(("torch.detach",))) and event.args:
            return event.args[0]
        return method.obj if method is not None and method.name == "detach" else None

    def _what(self, ref: ir.Ref) -> object:
        """What a term is, however it is called: the operation that made it, or the variable at the entry."""
        event = self.maker(ref)
        if isinstance(event, ir.Load):
            only = self.known.only(event)
            return only if only is not None else (event.name, self.known.seen.get(event))
        return (self.label(ref), "attribute") if isinstance(event, ir.Attr) else event

    def _judge(self, event: ir.Binary, terms: list[Term]) -> Iterator[ReversedStop]:
        for what in dict.fromkeys(term.what for term in terms):
            here = [term for term in terms if term.what == what]
            others = [term for term in terms if term.what != what]
            attached = [term.sign for term in here if not term.detached]
            stopped = [term.sign for term in here if term.detached]
            name = self.label(here[0].ref) or "it"
            if len(attached) != 1 or len(stopped) != 1 or len(others) != 1 or others[0].sign != 1:
                continue
            hard = self._is_hard(others[0].ref)
            if (attached[0], stopped[0]) == (-1, 1) and (hard or others[0].detached):
                yield ReversedStop(event.span, "negated", name)
            passed = (attached[0], stopped[0]) == (1, -1) and others[0].detached and not hard
            if passed and self._is_hard(here[0].ref):
                yield ReversedStop(event.span, "swapped", name)

    def _is_hard(self, ref: ir.Ref) -> bool:
        """Whether a value was surely rounded, looked up or made of indices, or is called so."""
        event = self.maker(ref)
        seen = set[ir.Event]()
        while event is not None and event not in seen:
            seen.add(event)
            if isinstance(event, ir.Load):
                if HARD.search(event.name):
                    return True
                only = self.known.only(event)
                event = self.maker(only.src) if only is not None else None
            elif isinstance(event, (ir.Unpack, ir.Item)):
                event = self.maker(event.src if isinstance(event, ir.Unpack) else event.obj)
            elif isinstance(event, ir.Call):
                method = self.method(event)
                last = method.name if method is not None else self.label(event.func)
                if last in zero_gradient() or last in nondifferentiable() or last in MAKES_HARD:
                    return True
                plain = method is not None and not any(isinstance(atom, Api) for atom in self.value(event.func))
                event = self.maker(method.obj) if method is not None and plain else None
            else:
                return isinstance(event, ir.Compare)
        return False


def reversed_stops(program: Program, tracer: Tracer, run: Run, path: str) -> list[ReversedStop]:
    """The reversed straight-through estimates of one body."""
    if run.body.kind == "class" or purpose.is_test(run.body, path):
        return []
    return sorted(Stops(program, tracer, run).reversed(), key=lambda fact: fact.span)
