"""Files in, findings out: processes, crashes, and the same answer whatever the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import gradlint
from gradlint import Config, Finding, Severity, check_paths, check_source, engine, filecheck, pool, registry
from gradlint.filecheck import Job, Report, Settings

BAD = "import torch\n\n\ndef score(model, x):\n    with torch.no_grad:\n        return x\n"
CLEAN = "import torch\n\n\ndef score(model, x):\n    with torch.no_grad():\n        return x\n"


def codes(findings: list[Finding] | tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def project(folder: Path, count: int) -> list[str]:
    """Make ``count`` files of which every third has a finding, and return the names of those."""
    guilty = []
    for number in range(count):
        name = f"f{number:03}.py"
        (folder / name).write_text(CLEAN if number % 3 else BAD)
        if number % 3 == 0:
            guilty.append(name)
    return guilty


def test_import_loads_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import gradlint; new = set(sys.modules) - before\n"
        "assert new == {'gradlint'}, new\n"
        "gradlint.check_source('import torch')\n"
        "assert not {'torch', 'libcst', 'rich', 'click'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_public_names_are_sorted_and_there() -> None:
    assert gradlint.__all__ == sorted(gradlint.__all__)
    for name in gradlint.__all__:
        assert getattr(gradlint, name).__name__ == name
    assert set(gradlint.__all__) <= set(dir(gradlint))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gradlint.nonsense


def test_check_source_places_findings_in_characters() -> None:
    [finding] = check_source("import torch\n'😀é'; torch.no_grad()\n", "x.py")
    assert (finding.path, finding.code, finding.location.line, finding.location.column) == ("x.py", "GRD103", 2, 7)


def test_check_source_reports_what_is_no_python() -> None:
    [finding] = check_source("import torch\ntorch.no_grad(\n")
    assert finding.code == "GRD000" and finding.severity is Severity.ERROR
    assert "'(' was never closed" in finding.message
    for text, problem in (("torch.no_grad()\0", "NUL"), ("torch.no_grad('\ud800')", "U+D800")):
        [finding] = check_source(text)
        assert finding.code == "GRD000" and problem in finding.message


def test_check_source_takes_text_that_begins_with_a_mark() -> None:
    assert codes(check_source("\ufeffimport torch\r\ntorch.no_grad()\r\n")) == ["GRD103"]


def test_text_without_a_word_about_gradients_is_only_held_against_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlint.source.parsing.parse", None)
    assert check_source("import numpy as np\nx = 1\n") == []
    assert codes(check_source("import numpy as np\nthis is ( no python\n")) == ["GRD000"]


def test_a_syntax_error_is_found_in_a_part_that_is_not_analysed() -> None:
    findings = check_source(BAD + "\n\ndef plot(x:\n    return x\n")
    assert codes(findings) == ["GRD000"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("count", [5, 90])
def test_same_result_with_any_number_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, count: int
) -> None:
    guilty = project(tmp_path, count)
    monkeypatch.chdir(tmp_path)
    steps: list[tuple[int, int]] = []
    result = check_paths(["."], Config(), jobs=jobs, on_progress=lambda done, total: steps.append((done, total)))
    assert [finding.path for finding in result.findings] == guilty
    assert result.files == count and not result.failed
    assert steps[-1] == (count, count) and steps == sorted(steps)


@pytest.mark.parametrize("seed", ["0", "7"])
@pytest.mark.parametrize("spelling", [".", "./", "sub/..", "ABSOLUTE"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_same_bytes_for_any_seed_spelling_and_number_of_jobs(
    tmp_path: Path, seed: str, spelling: str, jobs: str
) -> None:
    (tmp_path / "sub").mkdir()
    project(tmp_path, 45)
    (tmp_path / "sub" / "broken.py").write_text(BAD + "(")
    given = [str(tmp_path) if spelling == "ABSOLUTE" else spelling]
    given += [f"{given[0]}/f001.py", f"{given[0]}/f000.py"]
    command = [sys.executable, "-m", "gradlint", "--isolated", "-j", jobs, *given]
    env = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=env, check=False)
    assert done.returncode == 2 and not done.stderr
    lines = [line for line in done.stdout.splitlines() if ": GRD" in line]
    assert [line.partition(":")[0] for line in lines] == [f"f{n:03}.py" for n in range(0, 45, 3)] + ["sub/broken.py"]
    assert done.stdout.endswith("Found 16 findings in 16 files (46 files checked, 1 not fully analysed)\n")


class Inline(Executor):
    """Runs what it is given at once, as an executor on another machine would some time later."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Breaks(Inline):
    """Breaks after the first batch."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.count:
            raise BrokenExecutor("gone")
        return super().submit(fn, *args, **kwargs)


def test_any_executor_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guilty = project(tmp_path, 50)
    monkeypatch.chdir(tmp_path)
    inline = Inline()
    with ThreadPoolExecutor(2) as threads:
        for executor in (inline, threads, Breaks()):
            result = check_paths(["."], Config(), executor=executor)
            assert [finding.path for finding in result.findings] == guilty
    assert inline.count == 3


def test_a_worker_that_dies_takes_only_its_file_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guilty = project(tmp_path, 90)
    monkeypatch.chdir(tmp_path)
    victims = {"f003.py", "f044.py"}
    check_file = filecheck.check_file

    def deadly(job: Job, settings: Settings) -> Report:
        if job.path in victims:
            os.kill(os.getpid(), signal.SIGKILL)
        return check_file(job, settings)

    monkeypatch.setattr(filecheck, "check_file", deadly)
    # The patch reaches the workers only when they are forked.
    monkeypatch.setattr(pool, "_may_fork", lambda: True)
    result = check_paths(["."], Config(), jobs=2)
    assert result.files == 90 and set(result.failed) == victims
    assert [f.path for f in result.findings if f.code == "GRD104"] == [name for name in guilty if name not in victims]
    lost = [f for f in result.findings if f.code == "GRD002"]
    assert {f.path for f in lost} == victims and "the analysing process died" in lost[0].message


class Raises(Exception):
    pass


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make one rule fail on one function."""
    rule = registry.rule("GRD104")
    check = type(rule).check

    def fail(self: Any, facts: Any) -> Iterator[Any]:
        if facts.body.qualname == "cursed":
            raise Raises("[bold]boom")
        return check(self, facts)

    monkeypatch.setattr(type(rule), "check", fail)
    yield


TWO = BAD + "\n\ndef cursed(model, x):\n    torch.no_grad()\n    return x\n"


@pytest.mark.usefixtures("crash")
def test_a_rule_that_fails_is_named_and_the_rest_goes_on() -> None:
    findings = check_source(TWO)
    assert codes(findings) == ["GRD104", "GRD002", "GRD103"]
    assert findings[1].message == "GRD104 failed on `cursed` (Raises: [bold]boom)"
    assert findings[1].location.line == 9


@pytest.mark.usefixtures("crash")
def test_internal_errors_are_raised_on_request() -> None:
    with pytest.raises(Raises):
        check_source(TWO, raise_internal_errors=True)


@pytest.mark.usefixtures("crash")
def test_nothing_is_unused_in_a_file_that_was_not_fully_analysed() -> None:
    assert "GRD001" not in codes(check_source(TWO + "x = 1  # gradlint: ignore[GRD104]\n"))


def test_an_analysis_that_fails_is_reported_at_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlint.project import analysis

    def analyse(module: Any, path: str, on_crash: Any, deadline: float, **linked: Any) -> Iterator[Any]:
        on_crash(module.children[0], Raises("in the body"))
        yield from ()
        raise Raises("in the file")

    monkeypatch.setattr(analysis, "analyse", analyse)
    findings = check_source(BAD)
    assert [(f.location.line, f.message) for f in findings] == [
        (1, "the analysis of the file failed (Raises: in the file)"),
        (4, "the analysis of `score` failed (Raises: in the body)"),
    ]


def test_a_file_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    findings = check_source(BAD)
    given_up = [finding for finding in findings if finding.code == "GRD002"]
    assert [finding.severity for finding in given_up] == [Severity.INFO]
    assert given_up[0].message.startswith("gave up after 10 s")


def test_a_finding_made_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = registry.rule("GRD104")
    check = type(rule).check
    monkeypatch.setattr(type(rule), "check", lambda self, facts: [*check(self, facts), *check(self, facts)])
    assert codes(check_source(BAD)) == ["GRD104"]


def test_failures_are_always_on_but_can_be_ignored_by_name() -> None:
    text = "import torch\ntorch.no_grad(\n"
    assert codes(check_source(text, config=Config(select=("GRD101",)))) == ["GRD000"]
    assert codes(check_source(text, config=Config(ignore=("GRD000",)))) == []


def test_excerpts_hold_the_lines_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.py").write_text("import torch\ntorch.no_grad()  # " + "y" * 5_000 + "\n")
    monkeypatch.chdir(tmp_path)
    result = check_paths(["x.py"], Config())
    [excerpt] = result.excerpts.values()
    assert excerpt.line == 2 and excerpt.text.startswith("torch.no_grad()") and len(excerpt.text) < 1_000


def test_bytes_larger_than_the_limit_are_not_analysed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlint.source.reading.MAX_BYTES", 10)
    result = engine.check_bytes(BAD.encode(), "x.py")
    assert codes(result.findings) == ["GRD000"] and result.failed == ("x.py",)
    assert codes(check_source(BAD)) == ["GRD000"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_its_workers(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupt a run that is at work in its workers, and see that none stays."""
    program = (
        "import os, sys, time\n"
        "from gradlint import cli, filecheck, pool\n"
        "def slow(job, settings):\n"
        "    open(f'{os.getpid()}.pid', 'w').close()\n"
        "    time.sleep(60)\n"
        "filecheck.check_file = slow\n"
        "pool._may_fork = lambda: True\n"
        "sys.exit(cli.main(['-j', '2', '--isolated', '.']))\n"
    )
    project(tmp_path, 90)
    runner = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    workers: list[int] = []
    while len(workers) < 2:
        assert runner.poll() is None
        time.sleep(0.05)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    runner.send_signal(number)
    out, err = runner.communicate(timeout=30)
    assert runner.returncode == (130 if number is signal.SIGINT else 143)
    assert not out and "Traceback" not in err
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_workers_go_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "from gradlint import filecheck, pool\n"
        "from gradlint.filecheck import Job, Settings\n"
        "def slow(job, settings):\n"
        "    open(f'{os.getpid()}.pid', 'w').close()\n"
        "    time.sleep(60)\n"
        "filecheck.check_file = slow\n"
        "pool._may_fork = lambda: True\n"
        "with pool.Workers(2, Settings(frozenset())) as workers:\n"
        "    list(workers.check(iter([[Job('x', b'')], [Job('y', b'')]])))\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    workers: list[int] = []
    while len(workers) < 2:
        assert runner.poll() is None
        time.sleep(0.05)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    runner.kill()
    runner.wait(30)
    deadline = time.monotonic() + 30
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_a_name_that_only_a_star_import_can_have_bound_is_what_everybody_calls_so() -> None:
    code = "def f(net, x):\n    with torch.no_grad():\n        loss = F.relu(net(x)).sum()\n    loss.backward()\n"
    assert [finding.code for finding in check_source(f"from utils import *\n\n\n{code}")] == ["GRD101"]
    assert check_source(f"from utils import helper\n\n\n{code}") == []
