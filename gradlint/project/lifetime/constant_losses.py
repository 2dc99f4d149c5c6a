"""Losses that are a fresh constant on some path to their backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Fn, Obj
from gradlint.facts import Backward
from gradlint.facts.targets import ConstantLoss
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.protocol.protocol import is_plain
from gradlint.project.values.reading import Reading
from gradlint.torch_model import copying_factories, factories

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.protocol.protocol import Protocol
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

NEW = frozenset("new_zeros new_tensor new_full new_ones new_empty".split())


class Constants(Reading):
    """The backward passes of one body."""

    def losses(self, protocol: Protocol) -> Iterator[ConstantLoss]:
        """Yield the constants that they may start from, each once."""
        found: dict[ir.Span, ConstantLoss] = {}
        for op in protocol.backwards:
            assert isinstance(op.what, Backward)
            call = self.known.calls.get(op.what.span)
            method = self.method(call) if call is not None else None
            if call is None or method is None or op.what.how != "backward" or op.what.through or not is_plain(op):
                continue
            for constant, text in self._behind(self._plain(method.obj), call):
                because = ((call.span, "backward here"),)
                leaf = isinstance(constant, ir.Call) and "requires_grad" in dict(constant.keywords)
                found.setdefault(constant.span, ConstantLoss(constant.span, text, op.what.call, because, leaf))
        yield from sorted(found.values(), key=lambda one: one.span)

    def _plain(self, ref: ir.Ref) -> ir.Event | None:
        """What a pass starts from, without the numbers that it is multiplied with."""
        event = self.maker(ref)
        while isinstance(event, ir.Binary) and event.op in ("*", "/"):
            if self.tracer.is_plain(self.body, event.left):
                event = self.maker(event.right)
            elif event.op == "/" or self.tracer.is_plain(self.body, event.right):
                event = self.maker(event.left)
            else:
                return None
        return event

    def _behind(self, event: ir.Event | None, backward: ir.Call) -> Iterator[tuple[ir.Event, str]]:
        if isinstance(event, ir.Load):
            if self._is_checked(event.name, backward):
                return
            only = self.known.only(event)
            if only is None:
                yield from self._branches(event)
                return
            event = self.maker(only.src)
        if isinstance(event, ir.Call):
            for body in self._callees(event):
                yield from self._of_function(body)

    def _branches(self, load: ir.Load) -> Iterator[tuple[ir.Event, str]]:
        """A branch that assigns a constant, where others assign what was computed."""
        stores = self.known.assigning(load)
        constants = [store for store in stores if is_constant(self.tracer, self.known, self.body, store.src)]
        others = [store for store in stores if store not in constants]
        if not others or len(stores) != len(self.known.seen.get(load, ())):
            return
        for store in constants:
            apart = not any(self.order.leads(store, other) for other in others)
            if apart and len({self.known.loops(one) for one in (store, *others)}) == 1:
                made = self.known.makers[store.src]
                yield made, self._text(self.tracer, self.body, made)

    def _is_checked(self, name: str, backward: ir.Call) -> bool:
        """Whether a condition in front of a backward pass asks about what it starts from."""
        for assume in self.known.events(ir.Assume):
            if self.order.precedes(assume, backward) and name in names_in(self.known, assume.cond):
                return True
        return False

    def _callees(self, call: ir.Call) -> list[Body]:
        """The functions of the file that are surely called."""
        found = []
        for atom in self.value(call.func):
            fn = atom if isinstance(atom, Fn) else None
            if isinstance(atom, Obj) and atom.cls is not None:
                fn = classes.own_function(self.program, atom.cls, "forward")
            if fn is None or self.program.stubs.data(fn.body) is not None or fn.body.is_generator:
                return []
            found.append(fn.body)
        return found

    def _of_function(self, body: Body) -> Iterator[tuple[ir.Event, str]]:
        """The constants that a function returns, where it returns something computed otherwise."""
        known = self.tracer.definitions(body)
        returns = [event for event in known.events(ir.Return) if event.src is not None]
        constants = [out for out in returns if out.src is not None and is_constant(self.tracer, known, body, out.src)]
        if not constants or len(constants) == len(returns):
            return
        for out in constants:
            made = known.makers[out.src if out.src is not None else ir.OPAQUE_REF]
            yield made, self._text(self.tracer, body, made)

    def _text(self, tracer: Tracer, body: Body, event: ir.Event) -> str:
        return f"{tracer.label(body, event.func)}(...)" if isinstance(event, ir.Call) else "a constant"


def is_constant(tracer: Tracer, known: Definitions, body: Body, ref: ir.Ref) -> bool:
    """Whether a value is surely a tensor that is made of numbers, without a gradient of its own."""
    event = known.makers.get(ref)
    if isinstance(event, ir.Load):
        only = known.only(event)
        alone = only is not None and len(known.loads.get(only, ())) == 1
        return only is not None and alone and is_constant(tracer, known, body, only.src)
    if not isinstance(event, ir.Call) or any(name is None for name, _ in event.keywords):
        return False
    if not all(tracer.is_plain(body, ref) for ref in event.args[:1]):
        return False
    callees = tracer.value(body, event.func)
    names = [atom.name for atom in callees if isinstance(atom, Api)]
    if names and len(names) == len(callees):
        return all(name in factories() or name in copying_factories() for name in names)
    method = known.makers.get(event.func)
    if isinstance(method, ir.Attr) and method.name in ("to", "cuda", "float", "double"):
        return is_constant(tracer, known, body, method.obj)
    return isinstance(method, ir.Attr) and method.name in NEW


def names_in(known: Definitions, ref: ir.Ref) -> set[str]:
    """The variables that a condition reads."""
    found: set[str] = set()
    pending, seen = [ref], set[ir.Ref]()
    while pending:
        event = known.makers.get(current := pending.pop())
        if current in seen or event is None:
            continue
        seen.add(current)
        if isinstance(event, ir.Load):
            found.add(event.name)
        elif isinstance(event, (ir.Attr, ir.Item)):
            pending.append(event.obj)
        elif isinstance(event, ir.Call):
            pending += [event.func, *event.args]
        elif isinstance(event, (ir.Compare, ir.Binary)):
            pending += [event.left, event.right]
        elif isinstance(event, (ir.Unary, ir.Copy)):
            pending.append(event.src)
    return found


def constant_losses(tracer: Tracer, protocol: Protocol, path: str) -> list[ConstantLoss]:
    """The constants that the backward passes of one body may start from."""
    run = protocol.run
    if not protocol.backwards or purpose.is_test(run.body, path):
        return []
    return list(Constants(protocol.program, tracer, run).losses(protocol))
