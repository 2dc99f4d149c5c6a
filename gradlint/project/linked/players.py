"""Modules that are trained by optimizers of their own: which of them are on the same side.

A generator and its critic are opponents: the gradients that a pass for one leaves in the other are a mistake. Two
players whose work a third one judges want the same, so that a pass through all of them may be for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Atom, Obj
from gradlint.facts import Backward, Forward
from gradlint.project.values import demands

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.project.protocol.protocol import Op, Protocol
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


class Judged(NamedTuple):
    """What a module, or a method of one, made; ``made_by``: the modules whose results it was computed from."""

    modules: Value
    result: Value
    made_by: set[Atom]


def are_on_one_side(protocol: Protocol, tracer: Tracer, backward: Op, one: Value, other: Value) -> bool:
    """Whether a pass goes back from what a module that is neither's made of results of both."""
    program = protocol.program
    for judge in reached(protocol, tracer, backward):
        if judge.modules & (one | other) or any(map(program.is_free_of_parameters, judge.modules)):
            continue
        if judge.made_by & one and judge.made_by & other:
            return True
    return False


def judges(protocol: Protocol, tracer: Tracer, backward: Op, one: Value, other: Value) -> bool:
    """Whether a pass goes back from what a module of ``one`` made of results of ``other``."""
    return any(judge.modules & one and judge.made_by & other for judge in reached(protocol, tracer, backward))


def reached(protocol: Protocol, tracer: Tracer, backward: Op) -> Iterator[Judged]:
    """What modules made that a pass goes through."""
    assert isinstance(backward.what, Backward)
    calls = through_calls(protocol.run, tracer)

    def given(atom: Atom) -> frozenset[Atom]:
        return calls.get(atom, frozenset())

    made = [(forward.module.atoms, forward.result.atoms) for forward in protocol.run.recorder.all(Forward)]
    made += by_methods(protocol, tracer)
    walked = demands.ancestors(protocol.run, backward.what.target.atoms, given)
    for modules, result in made:
        if walked & result:
            behind = demands.ancestors(protocol.run, result, given) - result
            yield Judged(modules, result, {module for by, other in made if behind & other for module in by})


def by_methods(protocol: Protocol, tracer: Tracer) -> Iterator[tuple[Value, Value]]:
    """What methods of modules in sight return, each with its module: ``critic.loss_of(fake)``."""
    known = tracer.definitions(protocol.run.body)
    for local in protocol.run.recorder.local_calls():
        call, module = known.calls.get(local.span), local.fn.receiver
        if call is not None and module is not None and protocol.program.is_module(module):
            result = tracer.value(protocol.run.body, call.dst)
            yield frozenset((module,)), frozenset(atom for atom in result if isinstance(atom, Obj))


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
