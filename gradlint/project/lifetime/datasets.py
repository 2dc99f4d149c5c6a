"""What datasets and collate functions hand out with its graph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Sym
from gradlint.facts.targets import TrackedItem
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import class_around, owner_of

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

DATASET = re.compile(r"Dataset$")
COLLATES = re.compile(r"^_*(?:\w+_)?collate(?:_\w+)?$")
MOST_PARTS = 40


class Items(Lineage):
    """What one function hands out."""

    def __init__(self, program: Program, evaluation: Evaluation, run: Run) -> None:
        super().__init__(evaluation.tracer, run)
        self.program, self.frozen = program, evaluation.frozen

    def tracked(self) -> Iterator[TrackedItem]:
        """Yield the parts of what is returned that are on the graph for certain."""
        for out in self.known.events(ir.Return):
            for ref in self._parts(out.src):
                found = self._source(ref)
                if found is not None:
                    event, source = found
                    because = ((event.span, "put on the graph here"),)
                    yield TrackedItem(self.known.makers[ref].span, source, because)
                    return

    def _parts(self, ref: ir.Ref | None) -> list[ir.Ref]:
        """The values that are handed out, alone or in a container."""
        found: list[ir.Ref] = []
        pending = [ref] if ref is not None else []
        while pending and len(found) < MOST_PARTS:
            current = pending.pop(0)
            event = self.known.makers.get(current)
            if isinstance(event, ir.Build) and event.kind in ("tuple", "list", "dict"):
                pending += event.items
            elif isinstance(event, ir.Load) and (only := self.known.only(event)) is not None:
                inner = self.known.makers.get(only.src)
                pending += [only.src] if isinstance(inner, ir.Build) else []
                found += [] if isinstance(inner, ir.Build) else [current]
            elif event is not None:
                found.append(current)
        return found

    def _source(self, ref: ir.Ref) -> tuple[ir.Event, str] | None:
        """What put a value on the graph."""
        for event in self.of(ref):
            if isinstance(event, ir.Call) and self.records(event):
                if not self.frozen.covers(self.forwards[event.span].module.atoms):
                    return event, f"{self.tracer.label(self.body, event.func)}(...)"
            elif isinstance(event, ir.Attr) and self._is_leaf(event):
                return event, f"self.{event.name}"
        return None

    def _is_leaf(self, event: ir.Attr) -> bool:
        """Whether an attribute is what the constructor made a leaf, and nothing replaces."""
        cls = owner_of(self.tracer, self.body, event.obj)
        if cls is None or not all(isinstance(atom, Sym) for atom in self.tracer.value(self.body, event.dst)):
            return False
        found: list[int] = []
        for method in self.tracer.methods(cls):
            run = self.tracer.run(method)
            for write in self.tracer.definitions(method).events(ir.SetAttr):
                if write.name == event.name and run is not None:
                    found += [run.places[a].graph for a in run.temps[write.src] if a in run.places] or [tensor.ANY]
        return bool(found) and all(graph == tensor.LEAF for graph in found)


def hands_out(program: Program, body: Body) -> bool:
    """Whether a body makes the items of a dataset, or a batch of them."""
    if body.kind != "function" or body.is_generator:
        return False
    if COLLATES.search(body.name):
        return True
    around = class_around(body)
    if body.name not in ("__getitem__", "__getitems__") or around is None or around[0] is not body:
        return False
    lineage = classes.lineage(program.class_of(around[1]))
    return any(DATASET.search(base.label) for base in lineage) and not classes.is_module(program.class_of(around[1]))


def tracked_items(program: Program, evaluation: Evaluation, run: Run, path: str) -> list[TrackedItem]:
    """What one body hands out to a loader with its graph."""
    off = grad_mode.never_records(run.entry)
    if off or not hands_out(program, run.body) or purpose.is_test(run.body, path):
        return []
    return list(Items(program, evaluation, run).tracked())
