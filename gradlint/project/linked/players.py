"""Modules that are trained by optimizers of their own: which of them are on the same side.

A generator and its critic are opponents: the gradients that a pass for one leaves in the other are a mistake. Two
players whose work a third one judges want the same, so that a pass through all of them may be for both.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    program = protocol.program
    for judge, made_by in reached(protocol, tracer, backward):
        if judge.module.atoms & (one | other) or any(map(program.is_free_of_parameters, judge.module.atoms)):
            continue
        if made_by & one and made_by & other:
            return True
    return False


def judges(protocol: Protocol, tracer: Tracer, backward: Op, one: Value, other: Value) -> bool:
    """Whether a pass goes back from what a module of ``one`` made of results of ``other``."""
    return any(judge.module.atoms & one and made_by & other for judge, made_by in reached(protocol, tracer, backward))


def reached(protocol: Protocol, tracer: Tracer, backward: Op) -> Iterator[tuple[Forward, set[Atom]]]:
    """The forwards that a pass goes through, each with the modules whose results it was computed from."""
    assert isinstance(backward.what, Backward)
    calls = through_calls(protocol.run, tracer)

    def given(atom: Atom) -> frozenset[Atom]:
        return calls.get(atom, frozenset())

    forwards = protocol.run.recorder.all(Forward)
    walked = demands.ancestors(protocol.run, backward.what.target.atoms, given)
    for forward in forwards:
        if walked & forward.result.atoms:
            behind = demands.ancestors(protocol.run, forward.result.atoms, given) - forward.result.atoms
            yield forward, {module for each in forwards if behind & each.result.atoms for module in each.module.atoms}


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
