"""What the rest of a body proves about its parameters.

Whether an argument requires grad is not written in the function. But a function that reads ``w.grad`` takes a
leaf, and one that goes backward from something computed from ``w`` alone takes a ``w`` that requires grad:
anything else would raise there. A body that proves such a thing is solved again with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import Atom, Obj, Sym, Value
from gradlint.facts import Backward

if TYPE_CHECKING:
    from gradlint.project.summaries import Run

MOST_ATOMS = 400


def of(run: Run) -> dict[Atom, int]:
    """The places on the graph that parameters of a solved body must have."""
    found: dict[Atom, int] = dict.fromkeys(run.grads_read, tensor.LEAF)
    for backward in run.recorder.all(Backward):
        if backward.target.attached or backward.through:
            continue
        source = only_source(run, frozenset(backward.target.atoms))
        if source is not None and source not in backward.target.atoms:
            found.setdefault(source, tensor.GRAPH)
    return found


def source_of(run: Run, targets: Value) -> Value:
    """What a backward from ``targets`` goes back to: the one unknown thing that they were computed from, or they."""
    source = only_source(run, targets) if not any(isinstance(atom, Sym) for atom in targets) else None
    return targets if source is None else frozenset((source,))


def ancestors(run: Run, targets: frozenset[Atom], more: Mapping[Atom, frozenset[Atom]] | None = None) -> set[Atom]:
    """``targets`` and everything they were computed from, as the run and ``more`` have it."""
    pending, seen = list(targets), set(targets)
    while pending:
        atom = pending.pop()
        new = {*run.origins.get(atom, ()), *(more or {}).get(atom, ())} - seen
        seen |= new
        pending.extend(new)
    return seen


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
