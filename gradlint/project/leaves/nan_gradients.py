"""Gradients that are NaN because values without a finite derivative are taken out too late (facts: RG17).

``where(x > 0, log(x), 0)`` computes the logarithm of every element and picks afterwards. Back through the branch that
was not picked goes a gradient of zero, and zero times the infinite derivative is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import SCALAR, Api, Literal, Obj
from gradlint.facts.numbers import NanGradient
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.values.expressions import Expressions
from gradlint.project.values.uses import OFF, class_around
from gradlint.torch_model import roles
from gradlint.transfer import questions

if TYPE_CHECKING:
    from gradlint.facts import Reasons

ABOVE, BELOW, APART, EQUAL = "above", "below", "apart", "equal"
"""How what is compared stands to a constant where a condition holds; ``apart`` is on either side."""
OPPOSITE = {ABOVE: BELOW, BELOW: ABOVE, APART: EQUAL, EQUAL: APART}
HOLDS = {">": ABOVE, ">=": ABOVE, "<": BELOW, "<=": BELOW, "!=": APART, "==": EQUAL}
HOLDS |= {"gt": ABOVE, "ge": ABOVE, "lt": BELOW, "le": BELOW, "ne": APART, "eq": EQUAL}
ONE_SIDED = dict.fromkeys("log log2 log10 sqrt rsqrt log1p".split(), frozenset((ABOVE, APART)))
TWO_SIDED = dict.fromkeys("acos asin arccos arcsin atanh reciprocal".split(), frozenset((ABOVE, BELOW, APART)))
SINGULAR = ONE_SIDED | TWO_SIDED
"""Operations without a finite derivative somewhere, and the sides on which a condition keeps away from there."""
QUOTIENT = frozenset((ABOVE, BELOW, APART))
ROOT = frozenset((ABOVE, APART))
SMALL = re.compile(r"(?:^|[._])(?:eps\w*|epsilon|tol\w*|tiny|zero|min\w*|thresh\w*|delta)$", re.IGNORECASE)
"""Names of the constants by which things are kept away from zero."""
NOT_A_NUMBER = frozenset("isnan isinf isfinite".split())
LEAVES_OUT = frozenset("nanmean nansum nanmedian nanquantile".split())
KEPT_AWAY = frozenset("where masked_fill exp sigmoid softmax softplus".split())
CLAMPS = frozenset("clamp clamp_ clamp_min clip maximum max".split())
SQUARES = frozenset(("square", "pow"))
REACH = 4
"""What is picked may be computed from what has no derivative in so many operations."""


class Guard(NamedTuple):
    """What holds of the elements that are picked: how ``subject`` stands to a constant."""

    subject: Hashable
    side: str


class Pick(NamedTuple):
    """Elements are picked at ``event``: ``arm`` is what they are picked from, where ``condition`` is ``truth``."""

    event: ir.Event
    by: str
    arm: ir.Ref
    condition: ir.Ref
    truth: bool


class NanGradients(Expressions):
    """Looks through one body."""

    def found(self) -> Iterator[NanGradient]:
        """The places where values are taken out whose gradient is then NaN, in source order."""
        found: dict[ir.Span, NanGradient] = {}
        for pick in self._picks():
            for fact in self._of_pick(pick):
                found.setdefault(fact.span, fact)
        for call in self.events(ir.Call):
            other = self._of_replaced(call) or self._of_diagonal(call)
            if other is not None:
                found.setdefault(other.span, other)
        yield from sorted(found.values(), key=lambda fact: fact.span)

    # -- what is picked ------------------------------------------------------------------------------------

    def _picks(self) -> Iterator[Pick]:
        """The places of the body that pick elements of what is computed already."""
        for call in self.events(ir.Call):
            name = self.name(call)
            if name == "where":
                yield from self._of_where(call)
            elif name == "masked_fill" and len(call.args) >= 2:
                arm, given = self.subject(call), call.args[1 if self.is_torch(call) else 0]
                yield Pick(call, name, arm, given, False)
        for item in self.events(ir.SetItem):
            load = self.maker(item.obj)
            if isinstance(load, ir.Load) and isinstance(self.source(item.key), (ir.Compare, ir.Binary, ir.Unary)):
                yield Pick(item, "[...] =", item.obj, item.key, False)

    def _of_where(self, call: ir.Call) -> Iterator[Pick]:
        if any(isinstance(atom, Api) and not atom.name.startswith("torch.") for atom in self.value(call.func)):
            return
        if self.is_torch(call) and len(call.args) == 3:
            condition, one, other = call.args
        elif not self.is_torch(call) and len(call.args) == 2 and (method := self.method(call)) is not None:
            one, (condition, other) = method.obj, call.args
        else:
            return
        yield Pick(call, "where", one, condition, True)
        yield Pick(call, "where", other, condition, False)

    def _of_pick(self, pick: Pick) -> Iterator[NanGradient]:
        guards = set(self._guards(pick.condition, pick.truth))
        if not guards:
            return
        for event, call, subject, sides in self._singular(pick.arm):
            if not self._is_safe(subject) and any(Guard(self.key(subject), side) in guards for side in sides):
                sure = self._stands(event, pick.event)
                if sure is not None:
                    because = ((event.span, "has an infinite derivative where it is cut out"),)
                    yield NanGradient(pick.event.span, "selected", pick.by, call, because, sure)

    def _guards(self, condition: ir.Ref, truth: bool, depth: int = 0) -> Iterator[Guard]:
        """What holds of single expressions where a condition is true, or false."""
        event = self.source(condition)
        if depth > REACH:
            return
        if isinstance(event, ir.Unary) and event.op in ("~", "not"):
            yield from self._guards(event.src, not truth, depth + 1)
        elif isinstance(event, ir.Binary) and event.op == ("&" if truth else "|"):
            for part in (event.left, event.right):
                yield from self._guards(part, truth, depth + 1)
        elif isinstance(event, ir.Compare) and event.op in HOLDS:
            side = HOLDS[event.op]
            if self._is_constant(event.right):
                yield from self._compared(event.left, side if truth else OPPOSITE[side])
            elif self._is_constant(event.left):
                turned = side if side in (APART, EQUAL) else OPPOSITE[side]
                yield from self._compared(event.right, turned if truth else OPPOSITE[turned])
        elif isinstance(event, ir.Call) and self.name(event) in HOLDS and event.args:
            side = HOLDS[self.name(event)]
            if self._is_constant(event.args[-1]):
                yield from self._compared(self.subject(event), side if truth else OPPOSITE[side])

    def _compared(self, ref: ir.Ref, side: str) -> Iterator[Guard]:
        yield Guard(self.key(ref), side)
        event = self.source(ref)
        if isinstance(event, ir.Call) and self.name(event) in ("abs", "norm"):
            yield Guard(self.key(self.subject(event)), APART if side == ABOVE else side)
        if isinstance(self.maker(ref), ir.Load) and event is not None and getattr(event, "dst", None) is not None:
            yield Guard(self.key(event.dst), side)  # type: ignore[attr-defined]

    def _is_constant(self, ref: ir.Ref) -> bool:
        value = self.value(ref)
        plain = all(
            (isinstance(a, Literal) and isinstance(a.value, (int, float))) or (isinstance(a, Obj) and a.type == SCALAR)
            for a in value
        )
        return bool(value) and (plain or SMALL.search(self.label(ref)) is not None)

    def _singular(self, ref: ir.Ref, depth: int = 0) -> Iterator[tuple[ir.Event, str, ir.Ref, frozenset[str]]]:
        """What a value is computed from by operations without a finite derivative: the event, and what it is given."""
        event = self.source(ref)
        if event is None or depth > REACH:
            return
        if isinstance(event, ir.Binary) and event.op == "/":
            yield event, "/", event.right, QUOTIENT
        elif isinstance(event, ir.Binary) and event.op == "**" and self._is_root(event.right):
            yield event, "**", event.left, ROOT
        elif isinstance(event, ir.Call):
            name = self.name(event)
            given = event.args[1 if self.is_torch(event) else 0 :]
            if name in SINGULAR:
                yield event, f"{name}(...)", self.subject(event), SINGULAR[name]
            elif name in ("div", "true_divide") and given:
                yield event, f"{name}(...)", given[0], QUOTIENT
            elif name == "pow" and given and self._is_root(given[0]):
                yield event, f"{name}(...)", self.subject(event), ROOT
            elif name in ("where", "clamp", "clamp_min", "masked_fill", "nan_to_num"):
                return
        for operand in self.operands(event):
            yield from self._singular(operand, depth + 1)

    def _is_root(self, ref: ir.Ref) -> bool:
        """Whether an exponent is below one."""
        numbers = [atom.value if isinstance(atom, Literal) else None for atom in self.value(ref)]
        return bool(numbers) and all(isinstance(one, (int, float)) and one < 1 and one != 0 for one in numbers)

    # -- what is no number ---------------------------------------------------------------------------------

    def _of_replaced(self, call: ir.Call) -> NanGradient | None:
        """``nan_to_num(a / b)``, ``where(isnan(q), 0, q)`` and ``q.masked_fill(isnan(q), 0)``."""
        for arm in self._replaced(call):
            event = self.source(arm)
            one = next(self._singular(arm), None)
            if one is None or one[0] is not event or self._is_safe(one[2]) or self._has_gaps(one[2]):
                continue
            sure = self._stands(one[0], call)
            if sure is not None:
                because = ((one[0].span, "has an infinite derivative where it is no number"),)
                return NanGradient(call.span, "replaced", self.name(call), one[1], because, sure)
        return None

    def _replaced(self, call: ir.Call) -> Iterator[ir.Ref]:
        """What a call takes the values from that are numbers."""
        name = self.name(call)
        if name == "nan_to_num":
            yield self.subject(call)
        picks = self._of_where(call) if name == "where" else ()
        for pick in picks:
            test = self.source(pick.condition)
            if isinstance(test, ir.Unary) and test.op == "~":
                test, turned = self.source(test.src), True
            else:
                turned = False
            if not isinstance(test, ir.Call) or self.name(test) not in NOT_A_NUMBER:
                continue
            kept = (self.name(test) == "isfinite") != turned
            if pick.truth == kept and self.key(self.subject(test)) == self.key(pick.arm):
                yield pick.arm

    def _has_gaps(self, ref: ir.Ref) -> bool:
        """Whether something is computed by leaving out what is no number: it is data, of which some is missing."""
        behind = self.known.behind(ref, self.known.sources)
        return any(isinstance(event, ir.Call) and self.name(event) in LEAVES_OUT for event in behind)

    def _is_safe(self, ref: ir.Ref) -> bool:
        """Whether something is surely kept away from zero: a constant is added to it, or it is clamped."""
        event = self.source(ref)
        if isinstance(event, ir.Call):
            zero = any(
                questions.number(self.value(given)) == 0 for given in (*event.args, *dict(event.keywords).values())
            )
            return self.name(event) in KEPT_AWAY or (self.name(event) in CLAMPS and not zero)
        if isinstance(event, ir.Binary) and event.op == "+":
            return any(self._is_constant(side) for side in (event.left, event.right))
        return self._is_constant(ref)

    # -- distances -----------------------------------------------------------------------------------------

    def _of_diagonal(self, call: ir.Call) -> NanGradient | None:
        """The root of the sum of the squares of ``x[:, None] - x[None]``: zero for each with itself."""
        if self.name(call) != "sqrt":
            return None
        total = self.source(self.subject(call))
        if not isinstance(total, ir.Call) or self.name(total) != "sum":
            return None
        square = self.source(self.subject(total))
        base = None
        if isinstance(square, ir.Binary) and square.op in ("**", "*"):
            same = square.op == "**" or self.key(square.left) == self.key(square.right)
            base = square.left if same else None
        elif isinstance(square, ir.Call) and self.name(square) in SQUARES:
            base = self.subject(square)
        difference = self.source(base) if base is not None else None
        if not isinstance(difference, ir.Binary) or difference.op != "-":
            return None
        left, right = self._spread(difference.left), self._spread(difference.right)
        same = left is not None and right is not None and left == right
        if not same or self.key(difference.left) == self.key(difference.right):
            return None
        sure = self._stands(call, call)
        because: Reasons = ((difference.span, "zero for each element and itself"),)
        return NanGradient(call.span, "diagonal", "sqrt", "sqrt(...)", because, sure) if sure is not None else None

    def _spread(self, ref: ir.Ref) -> Hashable | None:
        """What a value with another axis of length one was made from."""
        event = self.source(ref)
        if isinstance(event, ir.Call) and self.name(event) == "unsqueeze":
            return self.key(self.subject(event))
        if isinstance(event, ir.Item):
            keys = self.source(event.key)
            items = keys.items if isinstance(keys, ir.Build) else (event.key,)
            parts = [self.maker(one) for one in items]
            plain = all((isinstance(one, ir.Const) and one.value in (None, ...)) or is_whole(one) for one in parts)
            if plain and any(isinstance(one, ir.Const) and one.value is None for one in parts):
                return self.key(event.obj)
        return None

    # -- the graph -----------------------------------------------------------------------------------------

    def _stands(self, event: ir.Event, pick: ir.Event) -> bool | None:
        """Whether the result of an operation is on the graph: None if it surely is not, False if that is not known."""
        if grad_mode.never_records(self.tracer.modes(self.body, pick)) or self._is_looked_at():
            return None
        uses = self.tracer.trace(("ref", self.body, event.dst)).uses  # type: ignore[attr-defined]
        if uses and all(use.kind == OFF for use in uses):
            return None
        places = [
            self.run.places[atom].graph
            for atom in self.value(event.dst)  # type: ignore[attr-defined]
            if atom in self.run.places
        ]
        graph = 0
        for place in places:
            graph |= place
        if graph and not graph & ~tensor.NO_GRAPH:
            return None
        if graph and not graph & ~tensor.ATTACHED:
            return True
        return self._is_trained_through()

    def _is_looked_at(self) -> bool:
        """Whether the body computes for people, or for a test."""
        return roles.infers(self.body.name) or purpose.evaluates(self.body)

    def _is_trained_through(self) -> bool:
        """Whether the body is the forward of a module, or a loss."""
        if roles.LOSS.search(self.body.name) is not None:
            return True
        around = class_around(self.body)
        inside = around is not None and around[0] is self.body and purpose.is_method_of_module(self.program, self.body)
        return inside and self.body.name == "forward"


def is_whole(event: ir.Event | None) -> bool:
    """Whether an index is ``:``, or takes an axis as it is."""
    return isinstance(event, ir.Build) and event.kind == "slice" and not event.items
