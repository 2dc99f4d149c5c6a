"""The grad modes that the analysis reveals are those that torch is seen in, on random programs.

Soundness must be perfect. Exactness is a ratchet: raise it when the analysis gets better. It counts too, because a
forgotten way out of a ``with`` makes the answer vaguer long before it makes it wrong. The mutants show that both
numbers notice a broken analysis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from observed import Tally, tally

from gradlint.domains import grad_mode
from gradlint.domains.state import State
from gradlint.flow.solver import solve
from gradlint.lower.python import graph
from gradlint.lower.python.frames import FinallyFrame, WithFrame
from gradlint.project import entries, solving, summaries
from gradlint.transfer import calls, contexts, switching

pytestmark = pytest.mark.torch

PROGRAMS = 300
EXACT = 0.996
MUTANT_PROGRAMS = 110


def mistakes(found: Tally) -> str:
    return "\n".join(
        f"python tests/observed.py --show {verdict.seed}  # line {verdict.line}, {verdict.entry}: "
        f"says {sorted(verdict.said)}, saw {dict(verdict.seen)}"
        for verdict in [*found.unsound, *found.imprecise][:20]
    )


def test_analysis_is_sound_and_almost_always_exact() -> None:
    found = tally(range(PROGRAMS))
    assert not found.unsound, mistakes(found)
    assert found.share >= EXACT, f"{found.share:.4%} exact\n{mistakes(found)}"
    assert found.observed > 0.6 * found.probes, "most probes must be reached often enough to count"


# -- mutants -------------------------------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Patch] = {}


def mutant(patch: Patch) -> Patch:
    MUTANTS[patch.__name__] = patch
    return patch


def skipping(label: str) -> Callable[[Any, Any, Any], None]:
    """`GraphBuilder.jump`, except that jumps to the loop's ``label`` run nothing on their way."""
    jump = graph.GraphBuilder.jump

    def mutated(builder: Any, target: Any, to: Any) -> None:
        loop = builder.innermost_loop()
        if loop is not None and to is getattr(loop, label):
            builder.goto(to)
        else:
            jump(builder, target, to)

    return mutated


@mutant
def continue_runs_no_exits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph.GraphBuilder, "jump", skipping("again"))


@mutant
def break_runs_no_exits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph.GraphBuilder, "jump", skipping("after"))


@mutant
def exceptions_run_no_exits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WithFrame, "land", lambda frame, builder, outer: outer)


@mutant
def finally_is_not_copied_for_jumps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FinallyFrame, "leave", lambda frame, builder: builder.start_block())


@mutant
def finally_is_not_copied_for_exceptions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FinallyFrame, "land", lambda frame, builder, outer: outer)


@mutant
def handlers_see_the_state_behind_a_call(patch: pytest.MonkeyPatch) -> None:
    call = calls.call

    def mutated(ip: Any, event: Any) -> bool:
        returns = call(ip, event)
        ip.raised(ip.state)
        return returns

    patch.setattr(calls, "call", mutated)


@mutant
def loops_are_visited_once(patch: pytest.MonkeyPatch) -> None:
    def mutated(nodes: Any, entry: Any, transfer: Any, **options: Any) -> Any:
        seen: set[int] = set()

        def once(index: int, state: Any, raised: Any) -> Any:
            if index in seen:
                return None
            seen.add(index)
            return transfer(index, state, raised)

        return solve(nodes, entry, once, **options)

    patch.setattr(solving, "solve", mutated)


@mutant
def leaving_turns_gradients_on(patch: pytest.MonkeyPatch) -> None:
    leave = switching.leave

    def mutated(ip: Any, region: int) -> bool:
        if not leave(ip, region):
            return False
        ip.state.modes = grad_mode.ON
        return True

    patch.setattr(switching, "leave", mutated)


@mutant
def leaving_restores_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(switching, "leave", lambda ip, region: False)


@mutant
def joins_forget_what_contexts_restore(patch: pytest.MonkeyPatch) -> None:
    join = State.join

    def mutated(state: State, other: State) -> bool:
        held = dict(state.held)
        changed = join(state, other)
        state.held = held | {region: other.held[region] for region in other.held.keys() - held.keys()}
        return changed

    patch.setattr(State, "join", mutated)


@mutant
def contexts_never_leave_the_mode_alone(patch: pytest.MonkeyPatch) -> None:
    entry_of = switching.entry_of
    patch.setattr(switching, "entry_of", lambda *args: entry_of(*args)._replace(kept=0))


@mutant
def enable_grad_ends_inference_mode(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(switching.EFFECTS, "on", lambda modes: grad_mode.ON)


@mutant
def leaving_inference_mode_keeps_gradients_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grad_mode, "leave_inference", lambda modes: modes)


@mutant
def set_grad_enabled_restores_the_mode_at_entry(patch: pytest.MonkeyPatch) -> None:
    push = switching.enter

    def mutated(ip: Any, region: int, context: Any) -> None:
        for atom in context:
            ip.program.restores.pop(atom, None)
        patch.setattr(switching, "switched_back", lambda ip, context: None)
        push(ip, region, context)

    patch.setattr(switching, "enter", mutated)


@mutant
def decorators_do_nothing(patch: pytest.MonkeyPatch) -> None:
    for module in (summaries, entries):
        patch.setattr(module, "inside", lambda fn, modes: modes)


@mutant
def decorated_functions_leak(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(summaries, "leave", lambda ip, fn, exits: switching.switch(ip, lambda m: grad_mode.through(exits, m)))


@mutant
def calls_leave_the_mode_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(summaries, "leave", lambda ip, fn, exits: None)


@mutant
def calls_raise_with_the_mode_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(summaries, "raise_with", lambda ip, fn, raises: ip.raised(ip.state))


@mutant
def suppress_takes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contexts, "may_swallow", lambda ip, region: False)


@pytest.fixture(scope="module")
def healthy() -> Tally:
    """The numbers without a mutant; from then on it is known what torch does."""
    return tally(range(MUTANT_PROGRAMS))


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_noticed(name: str, healthy: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    found = tally(range(MUTANT_PROGRAMS))
    assert found.observed == healthy.observed
    assert found.unsound or found.exact < healthy.exact
