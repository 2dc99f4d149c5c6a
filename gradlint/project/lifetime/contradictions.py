"""Gradients that are to be recorded from a graph that the same call frees: ``create_graph`` without ``retain_graph``.

``retain_graph`` is what ``create_graph`` is unless it is given. Whoever gives both as different conditions frees, where
only the first holds, what the backward through the gradient needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api
from gradlint.facts.lifetime import OddPass
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.values.uses import Tracer

PASSES = frozenset(("torch.autograd.grad", "torch.autograd.backward"))


class Contradictions:
    """The flags of the passes in one body."""

    def __init__(self, tracer: Tracer, body: Body) -> None:
        self.tracer, self.body = tracer, body
        self.known = tracer.definitions(body)

    def passes(self) -> Iterator[OddPass]:
        """Yield the passes that free what they are to record."""
        for call in self.known.events(ir.Call):
            flags = dict(call.keywords)
            if not {"create_graph", "retain_graph"} <= flags.keys() or not self._is_pass(call):
                continue
            created, retained = self._disjuncts(flags["create_graph"]), self._disjuncts(flags["retain_graph"])
            if created is not None and retained is not None and self._contradict(created, retained):
                yield OddPass(call.span, "freed", f"{self.tracer.label(self.body, call.func)}(...)")

    def _is_pass(self, call: ir.Call) -> bool:
        callees = self.tracer.value(self.body, call.func)
        if any(isinstance(atom, Api) for atom in callees):
            return all(isinstance(atom, Api) and atom.name in PASSES for atom in callees)
        method = self.known.makers.get(call.func)
        return isinstance(method, ir.Attr) and method.name == "backward"

    def _contradict(self, created: set[str], retained: set[str]) -> bool:
        """Whether a gradient may be recorded while the graph is freed, by what the conditions themselves say."""
        if "True" in retained:
            return False
        more = created - retained - {"False", "None"}
        return bool(more) and (retained == {"False"} or retained < created)

    def _disjuncts(self, ref: ir.Ref) -> set[str] | None:
        """How the source calls the conditions of which one must hold; None for anything but names joined by ``or``."""
        event = self.known.makers.get(ref)
        if isinstance(event, ir.Load) and (only := self.known.only(event)) is not None:
            return self._disjuncts(only.src)
        if isinstance(event, ir.Const):
            return {str(event.value)}
        if not isinstance(event, ir.Copy):
            label = self.tracer.label(self.body, ref) or (event.name if isinstance(event, ir.Load) else "")
            return {label} if label and isinstance(event, (ir.Load, ir.Attr, ir.Item)) else None
        found: set[str] = set()
        for copy in self._copies(ref):
            first = self.known.blocks[copy].events[0]
            inner = self._disjuncts(copy.src)
            if inner is None or not isinstance(first, ir.Assume) or (first.cond == copy.src and not first.truth):
                return None
            found |= inner
        return found

    def _copies(self, ref: ir.Ref) -> list[ir.Copy]:
        return [copy for copy in self.known.events(ir.Copy) if copy.dst == ref]


def contradicting(tracer: Tracer, body: Body) -> Iterator[OddPass]:
    """The passes of one body whose flags contradict each other."""
    if body.kind != "class":
        yield from Contradictions(tracer, body).passes()
