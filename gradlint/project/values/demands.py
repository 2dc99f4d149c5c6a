"""What the rest of a body proves about its parameters.

Whether an argument requires grad is not written in the function. But a function that reads ``w.grad`` takes a
leaf, and one that goes backward from something computed from ``w`` alone takes a ``w`` that requires grad:
anything else would raise there. A body that proves such a thing is solved again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import FROZEN
from gradlint.domains.values import Api, Atom, Method, Obj, Sym, Value
from gradlint.facts import Backward, Forward, GradFlag
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.project.summaries import Run

MOST_ATOMS = 400


def of(run: Run) -> dict[Atom, int]:
    """The places on the graph that parameters of a solved body must have."""
    found: dict[Atom, int] = dict.fromkeys(run.grads_read, tensor.LEAF)
    flags = [flag for flag in run.recorder.all(GradFlag) if flag.value is not False]
    made_leaves = {atom for flag in flags for atom in flag.target.atoms}
    for backward in run.recorder.all(Backward):
        if backward.target.attached or backward.through:
            continue
        target = frozenset(backward.target.atoms)
        if made_leaves & (ancestors(run, target) - target):
            continue  # it reaches these, whatever they were computed from
        source = only_source(run, target)
        if source is not None and source not in backward.target.atoms:
            found.setdefault(source, tensor.GRAPH)
    return found


def source_of(run: Run, targets: Value, is_free: Callable[[Atom], bool] | None = None) -> Value:
    """What a backward from ``targets`` goes back to: the one unknown thing that they were computed from, or they.

    With ``is_free``, which tells what has no parameters, it may be several, and variables of the body around this one.
    """
    if any(isinstance(atom, Sym) for atom in targets):
        return targets
    source = only_source(run, targets)
    if source is not None:
        return frozenset((source,))
    return (captured(run, targets, is_free) if is_free is not None else None) or targets


def captured(run: Run, targets: Value, is_free: Callable[[Atom], bool]) -> Value:
    """What was made outside of a body, if ``targets`` were computed from nothing else; empty if they were not."""
    made = {*run.body.graph.events()}
    found: set[Atom] = set()
    for atom in ancestors(run, targets):
        event = atom.event if isinstance(atom, Obj) else None
        if run.plain.get(atom) == tensor.PLAIN:
            continue
        if isinstance(atom, (Obj, Sym)) and event not in made:
            found.add(atom)
        elif atom not in run.origins or (isinstance(event, ir.Call) and not is_transparent(run, event, is_free)):
            return frozenset()
    return frozenset(found)


def brings_leaves(run: Run, backward: Backward, source: Value, is_free: Callable[[Atom], bool]) -> bool:
    """Whether a pass may find a graph though its ``source`` is not on it: something on the way brings leaves along.

    A call that may have parameters does, and so does ``requires_grad_()``, if the body turns gradients on itself: else
    nothing is recorded where its caller has turned them off.
    """
    if source == backward.target.atoms:
        return False
    walked = ancestors(run, frozenset(backward.target.atoms))
    if not records_by_itself(run, {atom.event for atom in walked if isinstance(atom, Obj)}):
        return False
    if any(flag.value is not False and walked & flag.target.atoms for flag in run.recorder.all(GradFlag)):
        return True
    made = (atom.event for atom in walked if isinstance(atom, Obj) and atom in run.origins)
    return any(isinstance(event, ir.Call) and not is_transparent(run, event, is_free) for event in made)


def records_by_itself(run: Run, made: Collection[ir.Event]) -> bool:
    """Whether some of the events that have ``made`` things run with gradients on, whatever the mode of the caller."""
    for block in run.body.graph.blocks:
        for index, event in enumerate(block.events):
            if event in made and run.recorder.modes_at(block.index, index) == grad_mode.ON:
                return True
    return False


def is_transparent(run: Run, call: ir.Call, is_free: Callable[[Atom], bool]) -> bool:
    """Whether a call computes its result from nothing but what it is given."""
    return all(
        isinstance(func, (Api, Method)) or (is_free(func) and getattr(func, "parent", None) is None)
        for func in run.temps[call.func]
    )


def ancestors(
    run: Run, targets: frozenset[Atom], more: Callable[[Atom], Iterable[Atom]] = lambda atom: ()
) -> set[Atom]:
    """``targets`` and everything they were computed from, as the run and ``more`` have it."""
    pending, seen = list(targets), set(targets)
    while pending:
        atom = pending.pop()
        new = {*run.origins.get(atom, ()), *more(atom)} - seen
        seen |= new
        pending.extend(new)
    return seen


def modules(run: Run, targets: Value) -> Value:
    """The modules whose results a backward from ``targets`` starts from, as far as is known, but for frozen ones."""
    reached = ancestors(run, targets)
    return frozenset(
        atom
        for forward in run.recorder.all(Forward)
        if not forward.marks & FROZEN and not forward.result.cut and reached & forward.result.atoms
        for atom in forward.module.atoms
    )


def only_source(run: Run, targets: frozenset[Atom]) -> Sym | None:
    """The one unknown thing that ``targets`` were computed from; None if there are several or none."""
    pending, seen = list(targets), set(targets)
    sources: set[Sym] = set()
    while pending and len(seen) < MOST_ATOMS:
        atom = pending.pop()
        origins = run.origins.get(atom)
        if origins is None:
            if isinstance(atom, Sym) and run.plain.get(atom) != tensor.PLAIN:
                sources.add(atom)
            elif not isinstance(atom, (Obj, Sym)) or run.plain.get(atom, tensor.ANY) & ~(tensor.PLAIN | tensor.CUT):
                return None
            continue
        for origin in origins - seen:
            seen.add(origin)
            pending.append(origin)
    return sources.pop() if len(sources) == 1 else None
