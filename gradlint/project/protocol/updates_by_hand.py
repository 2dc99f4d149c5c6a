"""Parameters that are updated by hand, from gradients that nothing clears: `p.data -= lr * p.grad`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Api, Fn, Method
from gradlint.facts import Backward, Clear, Touch, Uncleared
from gradlint.ir import events as ir
from gradlint.project.protocol.protocol import Op, Protocol, is_plain
from gradlint.torch_model import in_place_methods, roles
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.project.values.uses import Tracer

CLEARS = frozenset("zero_ fill_ copy_ set_ zero mul_ clear_gradients".split())
"""Methods that leave nothing of a gradient, or may, and those that keep a part of it on purpose."""
LISTS = frozenset("parameters named_parameters".split())


class Update(NamedTuple):
    """An edit of a leaf by its own gradient. ``holder``: what the leaf is a parameter of, as the source has it."""

    event: ir.Event
    leaf: str
    shown: str
    holder: str
    roots: frozenset[str]
    """The variables in which the leaf stands, or what it is a parameter of."""


class ByHand:
    """Looks through one body that makes no step with an optimizer."""

    def __init__(self, protocol: Protocol, tracer: Tracer) -> None:
        self.protocol, self.tracer, self.body = protocol, tracer, protocol.run.body
        self.known = tracer.definitions(self.body)

    def uncleared(self) -> Iterator[Uncleared]:
        """The backward passes in loops that add to what was applied by hand in the iteration before."""
        passes = [op for op in self.protocol.backwards if self._is_direct(op)]
        updates = list(self._updates()) if passes else []
        if not updates or self._may_clear():
            return
        for op in passes:
            for update in updates:
                around = [loop for loop in op.what.loops if loop in self.known.loops(update.event)]
                if around and self.protocol.comes_back(op, around[-1]) and not self._is_fresh(update, around):
                    assert isinstance(op.what, Backward)
                    because = ((update.event.span, "applied here"),)
                    source, call = "the iterations before", op.what.call
                    yield Uncleared(op.what.span, call, update.shown, update.holder, source, because, update.leaf)
                    break

    def _is_direct(self, op: Op) -> bool:
        what = op.what
        assert isinstance(what, Backward)
        return is_plain(op) and bool(what.loops) and not what.through and not what.modes.off and not what.inputs

    # -- updates -------------------------------------------------------------------------------------------

    def _updates(self) -> Iterator[Update]:
        for event in self.known.blocks:
            found = self._edit(event)
            leaf = self._leaf(found[0]) if found is not None else None
            if found is None or leaf is None or not any(self._is_gradient(ref, leaf.name) for ref in found[1]):
                continue
            holder = self._holder(leaf)
            shown = f"{self.tracer.label(self.body, found[0])}{found[2]}"
            if holder is None:
                yield Update(event, leaf.name, shown, "", frozenset((leaf.name,)))
            elif label := self.tracer.label(self.body, holder):
                yield Update(event, leaf.name, shown, label, frozenset((label.partition(".")[0],)))

    def _edit(self, event: ir.Event) -> tuple[ir.Ref, tuple[ir.Ref, ...], str] | None:
        """What an event edits in place, what it computes that from, and how to show the rest."""
        if isinstance(event, ir.Augment):
            return event.target, (event.value,), f" {event.op}= ..."
        if isinstance(event, ir.SetAttr) and event.name == "data":
            return event.obj, (event.src,), ".data = ..."
        method = self.known.makers.get(event.func) if isinstance(event, ir.Call) else None
        if isinstance(event, ir.Call) and isinstance(method, ir.Attr) and method.name in in_place_methods():
            return method.obj, (*event.args, *(ref for _, ref in event.keywords)), f".{method.name}(...)"
        return None

    def _leaf(self, ref: ir.Ref) -> ir.Load | None:
        """The variable that is edited, by itself or through `.data`."""
        maker = self.known.makers.get(ref)
        if isinstance(maker, ir.Attr) and maker.name == "data":
            maker = self.known.makers.get(maker.obj)
        return maker if isinstance(maker, ir.Load) else None

    def _is_gradient(self, ref: ir.Ref, name: str) -> bool:
        """Whether something is computed from the gradient of a variable."""
        for event in self.known.behind(ref, self.known.sources):
            if isinstance(event, ir.Attr) and event.name == "grad":
                load = self.known.makers.get(event.obj)
                if isinstance(load, ir.Load) and load.name == name:
                    return True
        return False

    def _holder(self, leaf: ir.Load) -> ir.Ref | None:
        """What a loop over `model.parameters()` takes the leaf from."""
        for store in self.known.assigning(leaf):
            for event in self.known.behind(store.src, self.known.sources):
                if isinstance(event, ir.Attr) and event.name in LISTS:
                    return event.obj
        return None

    # -- what may clear ------------------------------------------------------------------------------------

    def _may_clear(self) -> bool:
        """Whether anything in the body may clear gradients, or get at them out of sight."""
        if any(
            isinstance(op.what, Clear) or (isinstance(op.what, Touch) and op.what.clears) for op in self.protocol.ops
        ):
            return True
        for event in self.known.blocks:
            if isinstance(event, (ir.SetAttr, ir.Delete)) and event.name == "grad":
                return True
            if isinstance(event, ir.Attr) and roles.CLEARS.search(event.name):
                return True
            if isinstance(event, ir.Attr) and event.name in CLEARS and self._is_of_gradient(event.obj):
                return True
            if isinstance(event, ir.Call) and self._is_out_of_sight(event):
                return True
        return False

    def _is_of_gradient(self, ref: ir.Ref) -> bool:
        behind = self.known.behind(ref, self.known.sources)
        return any(isinstance(event, ir.Attr) and event.name == "grad" for event in behind)

    def _is_out_of_sight(self, call: ir.Call) -> bool:
        """Whether code that is not seen gets a module or its parameters."""
        value = self.tracer.value
        callees = value(self.body, call.func)
        program = self.protocol.program
        if callees and all(isinstance(one, (Api, Method, Fn)) or program.is_module(one) for one in callees):
            return False
        method = self.known.makers.get(call.func)
        if isinstance(method, ir.Attr) and method.name in tensor_methods():
            return False
        refs = (*call.args, *(ref for _, ref in call.keywords))
        return any(program.is_module(atom) for ref in refs for atom in value(self.body, ref))

    def _is_fresh(self, update: Update, around: list[int]) -> bool:
        """Whether an iteration makes the leaf anew, or what it is a parameter of."""
        return any(
            around[-1] in self.known.loops(store)
            for root in update.roots
            for store in self.known.stores.get(root, ())
            if not isinstance(self.known.makers.get(store.src), ir.Augment)
        )


def uncleared_by_hand(protocol: Protocol, tracer: Tracer) -> list[Uncleared]:
    """The backward passes that add to gradients which were applied by hand, each once, in source order."""
    if not protocol.backwards or protocol.steps or not protocol.run.body.graph.loops:
        return []
    found = {one.span: one for one in ByHand(protocol, tracer).uncleared()}
    return [found[span] for span in sorted(found)]
