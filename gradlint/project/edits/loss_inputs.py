"""Edits in losses of what their backward needs (facts: IP02, IP06).

Nothing in a loss says where the prediction comes from that it is given, but it has to be on the graph: nobody could
train with the loss otherwise. So a loss is solved once more with that on the graph.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.facts import Backward, Edit
from gradlint.project import classes
from gradlint.project.edits import kept_items, needed
from gradlint.project.values import demands
from gradlint.project.values.uses import class_around
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.domains.tensor import Saved
    from gradlint.domains.values import Sym
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

GIVEN = re.compile(
    r"(?:^|_)(?:targets?|labels?|gt|truth|true|y|tgt|masks?|weights?|ind(?:ex|ices)?|epoch|model)(?:_|$)"
)
"""Names of what a loss compares with, and of what else it is given."""


def saved_by_loss(program: Program, tracer: Tracer, run: Run) -> dict[Span, tuple[Saved, ...]]:
    """By edit, what has saved its target where a loss computes with a prediction on the graph; empty elsewhere."""
    edits = [edit for edit in run.recorder.all(Edit) if edit.modes.records and not edit.saved]
    prediction = predicted(program, run.body) if edits and not run.recorder.all(Backward) else None
    other = program.solved_with(run.body, {prediction: tensor.GRAPH}) if prediction is not None else None
    if other is None:
        return {}
    returned = frozenset(atom for group in other.returned.values() for one in group for atom in one.value)
    reached = demands.ancestors(other, returned)
    found: dict[Span, tuple[Saved, ...]] = {}
    starts = set[tuple[int, int]]()
    for edit in other.recorder.all(Edit):
        kept = kept_items.saved(tracer.definitions(run.body), other, edit)
        saved, _ = needed.needed(program, tracer, other, [], edit, kept)
        saved = tuple(one for one in saved if one.result in reached)
        if saved and edit.span[:2] not in starts:  # of `t.mul_(a).add_(b)` the first says it all
            starts.add(edit.span[:2])
            found[edit.span] = saved
    return found


def predicted(program: Program, body: Body) -> Sym | None:
    """The parameter of a loss that is the prediction: the first one, unless it is called otherwise."""
    around = class_around(body)
    is_method = around is not None and around[0] is body
    cls = program.class_of(around[1]) if around is not None and is_method else None
    if is_method:
        named = cls is not None and body.name == "forward" and classes.is_module(cls) and roles.LOSS.search(cls.label)
    else:
        named = body.kind == "function" and roles.LOSS.search(body.name)
    position = 1 if is_method else 0
    first = body.parameters[position] if named and len(body.parameters) > position else None
    if first is None or first.kind != "positional" or GIVEN.search(first.name):
        return None
    return program.world.sym(body, first.name, first.annotation)
