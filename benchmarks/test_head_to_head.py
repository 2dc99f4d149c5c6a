"""Gradlint's part of the head-to-head, and what needs no peers of the rest."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path

import head_to_head
import overhead
import pytest
import torch
from cases import BUGS, HEALTHY, STOP_GRADIENTS, Case, cases
from head_to_head import Answer, names, peer_answer, runtime_answer
from overhead import WORKLOADS, Cost, Workload
from tables import table
from watched import Observed, Watched, watch

from gradlint.runtime.recorder import record

pytestmark = pytest.mark.torch

CONTROL, *GUILTY = cases(BUGS)
# A stop-gradient on one of two ways is often meant, so it is reported only when asked for.
POSSIBLE = {"one_branch_detached"}
CASE = Case("typo", Path("benchmarks/runtime_bugs/typo.py").resolve(), (16, 20), "A typo.")


def name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", GUILTY, ids=name)
def test_a_bug_is_caught_at_its_line(case: Case) -> None:
    answer = runtime_answer(case, watch(case), possible=case.name in POSSIBLE)
    assert answer.line, f"{case.summary} {answer}"


@pytest.mark.parametrize("case", [CONTROL, *cases(HEALTHY), *cases(STOP_GRADIENTS)], ids=name)
def test_nothing_is_reported_where_nothing_is_wrong(case: Case) -> None:
    watched = watch(case)
    assert (watched.seen(possible=False), watched.unfrozen, watched.ended) == ([], "", "")


def test_there_are_as_many_programs_as_is_said() -> None:
    assert (len(GUILTY), len(cases(HEALTHY))) == (16, 10)


def test_the_marks_of_guilty_lines_are_checked(tmp_path: Path) -> None:
    (tmp_path / "healthy.py").write_text('"""Fine."""\nx = 1  # guilty\n', encoding="utf-8")
    with pytest.raises(ValueError, match="1 lines end in `# guilty`"):
        cases(tmp_path)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize("level", range(4))
def test_recording_changes_no_gradient(workload: Workload, level: int) -> None:
    assert overhead.differing(workload, level, steps=2) == []


@pytest.mark.parametrize("case", [*cases(HEALTHY), *cases(STOP_GRADIENTS)], ids=name)
def test_recording_changes_no_bit_of_a_training_loop(case: Case) -> None:
    plain, recorded = trained(case, contextlib.nullcontext()), trained(case, record(3))
    assert [key for key, value in plain.items() if not torch.equal(value, recorded[key])] == []


def trained(case: Case, context: AbstractContextManager[object]) -> dict[str, torch.Tensor]:
    module = case.load()
    with context:
        model = module.make()
        module.run(model)
    states: dict[str, torch.Tensor] = dict(model.state_dict())
    gradients = {f"gradient of {key}": each.grad for key, each in model.named_parameters() if each.grad is not None}
    return {**states, **gradients}


def test_a_changed_gradient_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "record", lambda level: torch.autograd.set_multithreading_enabled(False))
    seeds = iter((0, 1))
    workload = Workload("MLP", lambda: seeded(next(seeds)), 1)
    assert "step 1: gradient of weight" in overhead.differing(workload, 0, steps=1)


def seeded(seed: int) -> overhead.Step:
    torch.manual_seed(seed)
    model = torch.nn.Linear(2, 1)
    return overhead.Step(model, lambda: model(torch.ones(1, 2)).square().sum().backward())


def test_bounds_are_kept_or_missed() -> None:
    def cost(ratio: float, bound: float | None) -> Cost:
        return Cost("MLP", "level 0", 1.0, ratio, ratio, ratio, 0.5, bound)

    assert cost(1.1, 1.1).kept and cost(9.0, None).kept
    assert not cost(1.2, 1.1).kept
    assert "≤ 1.10 MISSED" in overhead.report([cost(1.2, 1.1)], {0: []}, 3)
    assert "level 0: 1 changed" in overhead.report([cost(1.0, 1.1)], {0: ["step 1: gradient of weight"]}, 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("runtime_bugs/typo.py:16:9: has no effect", True),
        ('  File "/a/typo.py", line 20, in forward', True),
        ("typo.py:160: has no effect", False),
        ("typo.py:17: has no effect", False),
        ("other.py:16: has no effect", False),
    ],
)
def test_a_line_counts_only_with_its_file(text: str, named: bool) -> None:
    assert names(text, CASE) is named


def test_a_control_has_no_line_to_name() -> None:
    assert not names("control.py:1:1: wrong", CONTROL)


def test_answers_of_peers() -> None:
    silent: dict[str, object] = {"messages": {}, "trace": "", "ended": "RuntimeError: no graph\nmore", "warned": []}
    assert peer_answer(CASE, silent) == Answer(ended="RuntimeError: no graph")
    slow = peer_answer(CASE, {"messages": {"overfit_batch": "WARN"}, "trace": "WARN", "ended": "", "warned": []})
    assert (slow.mark, slow.indirect, slow.line) == ("(✓)", True, False)
    both = {"overfit_batch": "WARN", "params_change": "FAIL encoder\nhint"}
    told = peer_answer(CASE, {"messages": both, "trace": "typo.py:16: FAIL", "ended": "", "warned": ["16: slow"]})
    assert (told.mark, told.message, told.warned) == ("✓ line", "WARN | FAIL encoder", ("16: slow",))


def test_an_observation_elsewhere_does_not_count() -> None:
    def seen(path: Path, line: int, certainty: str = "likely") -> Watched:
        return Watched((Observed(str(path), line, "GRD212", certainty, "cut"),), "", "")

    assert runtime_answer(CASE, seen(CASE.path, 20), possible=False).mark == "✓ line"
    other = runtime_answer(CASE, seen(CASE.path, 21), possible=False)
    assert (other.caught, other.elsewhere) == (False, ("21: GRD212 cut",))
    assert not runtime_answer(CASE, seen(Path("other.py"), 20), possible=False).caught
    assert not runtime_answer(CASE, seen(CASE.path, 20, "possible"), possible=False).caught
    assert runtime_answer(CASE, seen(CASE.path, 20, "possible"), possible=True).caught
    assert runtime_answer(CONTROL, seen(CASE.path, 20), possible=False).caught


def test_the_report_says_what_could_not_be_installed() -> None:
    answers = {"torchtest": {case.name: Answer() for case in (CONTROL, *GUILTY)}}
    watched = {case.name: Watched((), "", "") for case in cases(HEALTHY)}
    loops = {"healthy": cases(HEALTHY), "meant": []}
    text = head_to_head.report([CONTROL, *GUILTY], answers, {"torcheck": "no such version"}, loops, watched, [])
    assert "* torcheck could not be installed: no such version" in text


def test_tables_are_aligned() -> None:
    assert table([["a", "long heading"], ["cell", "b"]]) == (
        "| a    | long heading |\n| ---- | ------------ |\n| cell | b            |"
    )
