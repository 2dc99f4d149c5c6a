"""Differential proof: the program again, without and with the fix of a finding."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradlint import Finding, check_source
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify import differential
from gradlint.runtime.verify.changes import Changes, changes
from gradlint.runtime.verify.differential import prove
from gradlint.runtime.verify.program import Program
from gradlint.runtime.verify.trial import STEPS, Capture, Trial

pytestmark = pytest.mark.torch

TRAIN = """\
import sys

import torch
from torch import nn

from metrics import evaluate

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
model[0].requires_grad = False
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = [(torch.randn(16, 4), torch.randn(16, 1)) for _ in range(3)]
for x, y in loader:
    optimizer.zero_grad()
    (model(x) - y).pow(2).mean().backward()
    optimizer.step()
if len(sys.argv) > 9:
    torch.set_grad_enabled(0)
print("trained", len(evaluate(model, loader)), sys.argv[1:])
with torch.no_grad():
    loss = model(x).sum()
loss.backward()
"""

METRICS = """\
from torch import nn


def evaluate(model, test_loader):
    model.eval()
    outputs = []
    for x, _ in test_loader:
        outputs.append(model(x))
    return outputs
"""

FILES = {"train.py": TRAIN, "metrics.py": METRICS}


def verified(path: str, text: str, verdict: Verdict = Verdict.CONFIRMED) -> list[Verified]:
    return [Verified(finding, verdict, ("seen",), 1) for finding in check_source(text, path)]


# -- a program ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program")
    for name, text in FILES.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def proof(folder: Path) -> Iterator[tuple[list[Verified], list[str]]]:
    """All findings of the program after all fixes were tried, and what was said meanwhile."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        findings = [each for name, text in FILES.items() for each in verified(name, text)]
        # Of what did not run nothing is tried.
        findings = [replace(each, verdict=Verdict.NOT_REACHED) if of(each) == "GRD104" else each for each in findings]
        yield prove(Program("train.py", arguments=("a",)), findings, say=said.append), said


def of(each: Verified) -> str:
    return each.finding.code


def only(proof: tuple[list[Verified], list[str]], code: str) -> Verified:
    (found,) = (each for each in proof[0] if of(each) == code)
    return found


def test_every_finding_of_the_program_is_there(proof: tuple[list[Verified], list[str]]) -> None:
    assert sorted(map(of, proof[0])) == ["GRD101", "GRD102", "GRD104", "GRD201", "GRD402"]
    assert {of(each) for each in proof[0] if each.verdict is Verdict.CONFIRMED} == set(map(of, proof[0])) - {"GRD104"}
    assert all(each.figures[0] == "seen" for each in proof[0])


def test_a_freeze_that_works_takes_the_gradients_away(proof: tuple[list[Verified], list[str]]) -> None:
    _, *figures = only(proof, "GRD201").figures
    assert [figure.partition("with the fix ")[2][:4] for figure in figures] == ["None", "None"]
    assert {figure.split("`")[1] for figure in figures[:2]} == {"0.weight", "0.bias"}


@pytest.mark.parametrize("code", ["GRD102", "GRD402"])
def test_an_evaluation_without_graphs_frees_them(proof: tuple[list[Verified], list[str]], code: str) -> None:
    (_, figure) = only(proof, code).figures
    assert figure.startswith("3 forwards built a graph that no backward used, ")
    assert figure.endswith("B, with the fix 0")


def test_an_error_goes_away(proof: tuple[list[Verified], list[str]]) -> None:
    _, figure, *_ = only(proof, "GRD101").figures
    assert "does not require grad" in figure and figure.endswith(", with the fix no error")


def test_what_did_not_run_is_not_tried(proof: tuple[list[Verified], list[str]]) -> None:
    assert only(proof, "GRD104").figures == ("seen",)


def test_equal_fixes_are_tried_once(proof: tuple[list[Verified], list[str]]) -> None:
    assert len([words for words in proof[1] if "metrics.py" in words]) == 1
    assert len(proof[1]) == 2 + 3


def test_no_file_is_touched(proof: tuple[list[Verified], list[str]], folder: Path) -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == FILES


# -- programs that cannot be tried -------------------------------------------------------------------------

UNCALLED = "import torch\n\nwith torch.no_grad:\n    pass\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Let no process start; each ends at once and leaves nothing. Returns the limits that were asked for."""
    limits: list[float | None] = []

    def process(command: list[str], environment: dict[str, str], limit: float | None) -> int:
        limits.append(limit)
        return 7

    monkeypatch.setattr(differential, "_process", process)
    return limits


def test_a_program_that_is_gone_proves_nothing(ran: list[float | None]) -> None:
    (each,) = prove(Program("x.py"), verified("x.py", UNCALLED))
    assert each.verdict is Verdict.CONFIRMED
    assert each.figures[1] == "no fix was tried: the process was gone before it could be looked at (exit code 7)"
    assert ran == [None]


def test_without_a_fix_nothing_runs(ran: list[float | None]) -> None:
    found = [replace(each, finding=replace(each.finding, fixes=())) for each in verified("x.py", UNCALLED)]
    found.append(replace(found[0], verdict=Verdict.OBSERVED))
    assert [each.figures[1:] for each in prove(Program("x.py"), found)] == [("no fix to try",), ()]
    assert ran == []


def test_several_ranks_are_not_run_again(ran: list[float | None]) -> None:
    (each,) = prove(Program("x.py"), verified("x.py", UNCALLED), environment={"RANK": "1", "WORLD_SIZE": "2"})
    assert each.figures[1] == "no fix was tried: several processes run the program"
    assert ran == []


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial | Exception]:
    """What the runs leave, one after the other."""
    left: list[Trial | Exception] = []

    def run(self: object, what: str, level: int, edits: object = None) -> Trial:
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(differential._Trials, "run", run)
    return left


def tried(trials: list[Trial | Exception], text: str, *left: Trial | Exception, found: Verdict) -> Verified:
    trials += left
    (each,) = prove(Program("x.py"), verified("x.py", text, found))
    return each


def applied(**fields: Any) -> Trial:
    return Trial(applied=[str(Path("x.py").absolute())], mode="on", **fields)


def test_a_fix_that_changes_nothing_leaves_the_verdict(trials: list[Trial | Exception]) -> None:
    same = applied(steps=4, gradients={"0.0": {"w": value(1.0)}})
    each = tried(trials, UNCALLED, same, same, same, found=Verdict.REFUTED)
    assert each.verdict is Verdict.REFUTED
    assert each.figures[1:] == ("the fix changes nothing: gradients, parameters and mode are the same (4 steps)",)


def test_a_fix_in_a_file_that_others_load_is_not_tried(trials: list[Trial | Exception]) -> None:
    each = tried(trials, UNCALLED, applied(), applied(), Trial(), found=Verdict.INCONCLUSIVE)
    assert each.figures[1] == "no fix was tried: the file is not loaded from its source by Python itself"


def test_a_run_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def process(command: list[str], environment: dict[str, str], limit: float | None) -> int:
        raise subprocess.TimeoutExpired(command, limit or 0.0)

    monkeypatch.setattr(differential, "_process", process)
    runs = differential._Trials(Program("x.py"), (), 0, {}, tmp_path, None, slowest=2.0)
    with pytest.raises(differential._NoTrial, match="it did not end within 70 s"):
        runs.run("with a fix", 0, {"x.py": ()})


def test_a_fix_that_raises_is_wrong(trials: list[Trial | Exception]) -> None:
    each = tried(trials, UNCALLED, applied(), applied(), applied(error="E: x"), found=Verdict.INCONCLUSIVE)
    assert each.verdict is Verdict.INCONCLUSIVE
    assert each.figures[1:] == ("with the fix the program raised `E: x`", "so this fix is wrong here")


def test_a_guard_that_changes_gradients_proves_nothing(trials: list[Trial | Exception]) -> None:
    """What a forward for evaluation has for gradients is nobody's; if some change, it was somebody's."""
    base = applied(gradients={"0.0": {"w": value(1.0)}}, unused=3)
    fixed = applied(gradients={"0.0": {"w": None}})
    metrics = METRICS.replace("from torch import nn", "import torch")
    trials += [base, base, fixed]
    kept = [each for each in verified("x.py", metrics, Verdict.REFUTED) if of(each) == "GRD102"]
    (each,) = prove(Program("x.py"), kept)
    assert each.verdict is Verdict.REFUTED
    assert each.figures[-1] == "so the fix takes away a graph that is used"


# -- comparing ---------------------------------------------------------------------------------------------


def value(*elements: float) -> tuple[float, torch.Tensor, int]:
    tensor = torch.tensor(elements)
    return float(tensor.norm()), tensor, 1


def seen(*steps: dict[str, Any], **fields: Any) -> Trial:
    return Trial(gradients={f"0.{index}": step for index, step in enumerate(steps)}, mode="on", **fields)


def compared(base: Trial, fixed: Trial, again: Trial | None = None) -> Changes:
    return changes(base, again or base, fixed)


def test_none_against_a_value_is_a_difference_however_small() -> None:
    found = compared(seen({"a": value(1.0), "b": None}), seen({"a": value(1.0), "b": value(1e-9)}))
    assert found.gradients and found.figures == ["`b`: None, with the fix 1e-09"]


def test_values_differ_by_a_share_of_all_gradients() -> None:
    """The gradient of a bias in front of a batch norm is zero but for rounding."""
    base = seen({"weight": value(3.0, 4.0), "bias": value(1e-8)})
    assert not compared(base, seen({"weight": value(3.0, 4.0), "bias": value(-1e-8)})).figures
    found = compared(base, seen({"weight": value(3.0, 4.1), "bias": value(1e-8)}))
    assert found.figures == ["`weight`: 5, with the fix 5.1"]


def test_the_earliest_step_counts() -> None:
    base = seen({"a": value(1.0), "b": value(1.0)}, {"a": value(2.0), "b": value(1.0)})
    found = compared(base, seen({"a": value(1.0), "b": value(1.0)}, {"a": value(1.0), "b": value(1.0)}))
    assert found.figures == ["`a`: 2, with the fix 1 (step 2)"]


def test_many_parameters_are_counted() -> None:
    base = seen({name: value(1.0) for name in "abcde"})
    found = compared(base, seen(dict.fromkeys("abcde")))
    assert found.figures[2:] == ["`c`: 1, with the fix None; and 2 other parameters"]


def test_noise_of_two_equal_runs_is_no_difference() -> None:
    base, again = seen({"a": value(1.0)}), seen({"a": value(1.01)})
    found = compared(base, seen({"a": value(1.02)}), again)
    assert not found.figures and not found.unsure
    assert compared(base, seen({"a": value(2.0)}), again).gradients


def test_an_unseeded_program_shows_only_what_is_steady() -> None:
    base, again = seen({"a": value(1.0), "b": value(1.0)}), seen({"a": value(-1.0), "b": value(3.0)})
    found = compared(base, seen({"a": value(2.0), "b": None}), again)
    assert found.figures == ["`b`: 1, with the fix None"]
    assert found.unsure.endswith("seed what the program draws")


def test_infinite_gradients_differ_from_finite_ones() -> None:
    assert compared(seen({"a": value(float("inf"))}), seen({"a": value(1.0)})).gradients
    assert not compared(seen({"a": value(float("nan"))}), seen({"a": value(float("nan"))})).gradients


def test_other_shapes_are_a_difference() -> None:
    assert compared(seen({"a": value(1.0)}), seen({"a": value(1.0, 0.0)})).gradients


def test_two_different_endings_are_no_base() -> None:
    found = changes(Trial(error="E: a", mode="on"), Trial(mode="on"), Trial(mode="on"))
    assert found.unsure == "two runs without it ended differently: `E: a` and no error"
    assert not found.figures


def test_another_error_is_shown_and_proves_nothing() -> None:
    found = compared(Trial(error="E: a", mode="on"), Trial(error="E: b", mode="on"))
    assert found.figures == ["`E: a`, with the fix `E: b`"]
    assert not (found.error or found.broken)
    found = compared(seen({"w": value(1.0)}, error="E: a"), seen({"w": None}, error="E: b"))
    assert not found.gradients


def test_exit_codes_are_compared() -> None:
    """A test that fails is no exception of the program."""
    found = compared(Trial(code=1, mode="on"), Trial(mode="on"))
    assert found.error and found.figures == ["the program ended with exit code 1, with the fix 0"]
    assert compared(Trial(mode="on"), Trial(code=1, mode="on")).broken
    assert changes(Trial(code=1, mode="on"), Trial(mode="on"), Trial(mode="on")).unsure


def test_the_mode_at_the_end_is_compared() -> None:
    found = compared(Trial(mode="inference"), Trial(mode="on"))
    assert found.mode and found.figures == ["gradients were off (inference mode) at the end, with the fix on"]


def test_what_steps_do_not_see_is_compared_too() -> None:
    assert compared(Trial(left={"w": None}, mode="on"), Trial(left={"w": value(2.0)}, mode="on")).figures == [
        "`w`: None, with the fix 2"
    ]
    (figure,) = compared(Trial(moved={"w": value(0.5)}, mode="on"), Trial(moved={"w": value(0.0)}, mode="on")).figures
    assert figure == "after the run, by how much it has changed: `w`: 0.5, with the fix zero"


def test_graphs_that_pile_up_are_compared() -> None:
    base = Trial(unused=4, peak_graphs=4, peak_bytes=2048, mode="on")
    found = compared(base, Trial(unused=4, peak_graphs=1, peak_bytes=512, mode="on"))
    assert found.memory and found.figures == [
        "4 graphs, 2.0 KiB, that no backward used were alive at once, with the fix 1, 512 B"
    ]


# -- capturing ---------------------------------------------------------------------------------------------


def captured(run: Any) -> Trial:
    trial, capture = Trial(), Capture()
    with capture:
        run()
    capture.fill(trial)
    return trial


def test_the_first_steps_are_captured_by_name() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    model[1].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def train() -> None:
        for _ in range(STEPS + 2):
            optimizer.zero_grad()
            model(torch.ones(3, 2)).sum().backward()
            optimizer.step()

    trial = captured(train)
    assert sorted(trial.gradients) == ["0.0", "0.1", "0.2"] and trial.steps == STEPS + 2
    first = trial.gradients["0.0"]
    assert sorted(first) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert first["1.weight"] is None and first["0.bias"][0] == pytest.approx(3 * abs(float(model[1].weight)))
    assert trial.moved["0.bias"][0] > 0 and trial.moved["1.bias"][0] == 0


def test_a_closure_is_captured_when_it_has_run() -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.pow(2).sum()
        loss.backward()
        return loss

    trial = captured(lambda: optimizer.step(closure))
    assert trial.gradients["0.0"]["parameter 0 of LBFGS"] is not None


def test_what_no_step_saw_is_captured_at_the_end() -> None:
    model = nn.Linear(2, 1, bias=False)
    trial = captured(lambda: model(torch.ones(1, 2)).sum().backward())
    assert trial.left["weight"][1].tolist() == [1.0, 1.0] and trial.gradients == {}


def test_parameters_of_one_name_are_told_apart() -> None:
    one, two = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    assert sorted(captured(lambda: two(one(torch.ones(1, 1)))).left) == ["weight", "weight (2)"]


def test_of_large_gradients_a_part_is_kept() -> None:
    weight = torch.zeros(1 << 18, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.sum().backward()
    ((norm, sample, stride),) = captured(optimizer.step).gradients["0.0"].values()
    assert norm == pytest.approx(512.0) and sample.numel() * stride == 1 << 18 and stride == 2


def finding(code: str) -> Finding:
    (found,) = (each for each in check_source(METRICS, "x.py") if each.code == code)
    return found


def test_what_is_about_memory_has_a_fix() -> None:
    assert all(finding(code).fixes for code in differential.ABOUT_MEMORY)
