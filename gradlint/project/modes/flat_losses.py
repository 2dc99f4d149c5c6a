"""Losses that nobody can train: all of what they return goes through a function that turns gradients off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Atom, Obj, Tuple, Value
from gradlint.facts.modes import FlatLoss
from gradlint.project import classes, purpose, summaries
from gradlint.project.values import demands
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

CALLED = ("forward", "__call__")


def flat_losses(program: Program, run: Run) -> Iterator[FlatLoss]:
    """Yield the loss that goes through the body of ``run`` as a whole, if the body is decorated to run untracked."""
    fn = program.functions.get(run.body)
    if fn is None or not fn.wrappers or not grad_mode.never_records(summaries.inside(fn, grad_mode.ON)):
        return
    for body, name in losses(program):
        place = through(program, body, run.body) if body is not run.body else None
        if place is not None:
            owner = run.body.parent
            called = owner.name if owner is not None and owner.kind == "class" else run.body.name
            because = ((place, "the loss goes through it here"),)
            yield FlatLoss(fn.wrappers[-1].span, called, name, because)
            return


def losses(program: Program) -> Iterator[tuple[Body, str]]:
    """The functions of the file that compute a loss by their name or that of their class, with that name."""
    for body, fn in list(program.functions.items()):
        owner = body.parent if body.name in CALLED else body
        if owner is None or fn.wrappers or purpose.evaluates(body) or program.stubs.data(body) is not None:
            continue
        if roles.LOSS.search(owner.name) and (owner is body or owner.kind == "class"):
            yield body, owner.name


def through(program: Program, loss: Body, flat: Body) -> Span | None:
    """Where a loss runs the code of ``flat``, if nothing that it returns has a graph for that reason."""
    run = program.run(loss, grad_mode.INHERITED)
    if run is None or not run.complete:
        return None
    returned = [one for group in run.returned.values() for one in group]
    parts = [(atom, one.places.get(atom)) for one in returned for atom in flattened(one.value)]
    graphs = [place.graph if place is not None else tensor.ANY for _, place in parts]
    if any(graph & ~tensor.NO_GRAPH for graph in graphs) or not any(graph & tensor.OFF for graph in graphs):
        return None
    origins = demands.ancestors(run, frozenset(atom for atom, _ in parts))
    calls = {call.span for call in run.recorder.local_calls() if call.fn.body is flat}
    objects = (atom for atom in origins if isinstance(atom, Obj))
    return min((atom.span for atom in objects if atom.span in calls or runs(program, atom.owner, flat)), default=None)


def flattened(value: Value) -> Iterator[Atom]:
    """The atoms of a value, with tuples taken apart."""
    for atom in value:
        if isinstance(atom, Tuple):
            for item in atom.items:
                yield from flattened(item)
        else:
            yield atom


def runs(program: Program, module: Atom | None, code: Body) -> bool:
    """Whether calling a module runs ``code``."""
    cls = module.cls if isinstance(module, Obj) else None
    known = (classes.own_function(program, cls, name) for name in CALLED) if cls is not None else ()
    return any(fn is not None and fn.body is code for fn in known)
