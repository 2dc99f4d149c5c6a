"""Modules that are trained by optimizers of their own: which of them are on the same side.

A generator and its critic are opponents: the gradients that a pass for one leaves in the other are a mistake. Two
players whose work a third one judges want the same, so that a pass through all of them may be for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Atom, Obj
from gradlint.facts import Backward, Forward
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.project.protocol.protocol import Op, Protocol
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def are_on_one_side(protocol: Protocol, tracer: Tracer, backward: Op, one: Value, other: Value) -> bool:
    """Whether a pass goes back from what a module that is neither's made of results of both."""
    assert isinstance(backward.what, Backward)
    run, program = protocol.run, protocol.program
    calls = through_calls(run, tracer)

    def given(atom: Atom) -> frozenset[Atom]:
        return calls.get(atom, frozenset())

    forwards = run.recorder.all(Forward)
    reached = demands.ancestors(run, backward.what.target.atoms, given)
    for judge in forwards:
        if not reached & judge.result.atoms or judge.module.atoms & (one | other):
            continue
        if any(program.is_free_of_parameters(module) for module in judge.module.atoms):
            continue
        behind = demands.ancestors(run, judge.result.atoms, given) - judge.result.atoms
        made_by = {module for each in forwards if behind & each.result.atoms for module in each.module.atoms}
        if made_by & one and made_by & other:
            return True
    return False


def through_calls(run: Run, tracer: Tracer) -> dict[Atom, frozenset[Atom]]:
    """What functions of the project return, each with what they were given."""
    found: dict[Atom, frozenset[Atom]] = {}
    calls = tracer.definitions(run.body).calls
    for call in (calls.get(local.span) for local in run.recorder.local_calls()):
        if call is not None:
            refs = (*call.args, *(ref for _, ref in call.keywords))
            given = frozenset(atom for ref in refs for atom in tracer.value(run.body, ref))
            found.update((atom, given) for atom in tracer.value(run.body, call.dst) if isinstance(atom, Obj))
    return found
