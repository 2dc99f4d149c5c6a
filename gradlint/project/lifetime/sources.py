"""What the target of a backward pass was computed from, and is on the graph for certain: else nothing would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import Obj
from gradlint.facts import Forward
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Value
    from gradlint.project.summaries import Run


def sole_sources(run: Run, targets: frozenset[Atom]) -> Iterator[Atom]:
    """What targets of a pass were computed from, and nothing else that may be on the graph: so it is on it for sure."""
    pending, seen = list(targets), set(targets)
    while pending:
        others = not_off(run, pending.pop())
        if len(others) == 1 and others[0] not in seen:
            seen.add(others[0])
            pending.append(others[0])
            yield others[0]


def loss_sources(run: Run, targets: frozenset[Atom], is_loss: Callable[[Atom], bool]) -> Iterator[Atom]:
    """What targets of a pass were computed from that the source calls a loss: `multiplied = batch_loss / count`."""
    pending, seen = list(targets), set(targets)
    while pending:
        for origin in not_off(run, pending.pop()):
            named = origin not in seen and is_loss(origin)
            if named or (isinstance(origin, Obj) and isinstance(origin.event, ir.Binary) and origin not in seen):
                seen.add(origin)
                pending.append(origin)
            if named:
                yield origin


def of_one_module(run: Run, targets: frozenset[Atom]) -> set[Atom]:
    """The same where there are several, all of which are results of one module, or computed from such results only."""
    made_by = {atom: forward.module.atoms for forward in run.recorder.all(Forward) for atom in forward.result.atoms}
    pending = list(targets)
    seen: set[Atom] = set()
    modules: set[Value] = set()
    while pending:
        atom = pending.pop()
        if atom in seen:
            continue
        seen.add(atom)
        if atom in made_by:
            modules.add(made_by[atom])
        elif others := not_off(run, atom):
            pending.extend(others)
        else:
            return set()
    return seen if len(modules) == 1 else set()


def not_off(run: Run, atom: Atom) -> list[Atom]:
    """What something was computed from that may be on the graph."""
    return [origin for origin in run.origins.get(atom, ()) if not is_off(run, origin)]


def is_off(run: Run, atom: Atom) -> bool:
    """Whether something is off the graph for certain."""
    return not run.plain.get(atom, tensor.ANY) & ~(tensor.PLAIN | tensor.CUT)
