"""Linking as the engine drives it: rounds, processes, and the same answer however the files are given."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small_project import EVALUATION, GUARDED, QUIET, project, unguarded

from gradlint import Config, Result, check_paths, check_source, filecheck, pool, run
from gradlint.filecheck import Job, Report, Settings
from gradlint.linking.interface import Interface, View, decode_interface
from gradlint.linking.link import Link
from gradlint.linking.reads import Reads

__all__ = ["project"]


def story(result: Result) -> list[tuple[Any, ...]]:
    """Return what is found and why, wherever the files are seen from."""
    return [
        (
            os.path.realpath(finding.path),
            finding.location,
            finding.code,
            finding.message,
            [(os.path.realpath(step.path), step.location, step.text) for step in finding.evidence],
        )
        for finding in result.findings
    ]


# -- what is followed --------------------------------------------------------------------------------------------------


def test_one_caller_without_is_enough_and_none_is_not(project: Path) -> None:
    finding = unguarded(check_paths(["."], Config(), jobs=1))
    assert [(step.path, step.location.line) for step in finding.evidence if step.path != finding.path] == [
        ("other.py", 5)
    ]
    (project / "other.py").unlink()
    assert check_paths(["."], Config(), jobs=1).findings == ()


def test_without_linking_each_file_stands_alone(project: Path) -> None:
    (project / "other.py").unlink()
    finding = unguarded(check_paths(["."], Config(link=False), jobs=1))
    assert {step.path for step in finding.evidence} == {finding.path}
    assert unguarded(check_paths(["lib/evaluation.py"], Config(), jobs=1)) == finding
    [alone] = check_source(EVALUATION, os.path.join("lib", "evaluation.py"))
    assert alone == finding


# -- the same answer ---------------------------------------------------------------------------------------------------

FILES = ("lib/__init__.py", "lib/evaluation.py", "main.py", "other.py", "quiet.py")


def test_the_order_of_the_files_makes_no_difference(project: Path) -> None:
    expected = check_paths(["."], Config(), jobs=1)
    for order in list(permutations(FILES))[::7]:
        assert check_paths(order, Config(), jobs=1) == expected


@pytest.mark.parametrize(
    "paths",
    [
        ["./"],
        ["lib", "."],
        ["lib/../main.py", "./other.py", "main.py", "lib", "quiet.py"],
        ["{here}"],
        ["{here}/lib", "main.py", "{here}/other.py", "quiet.py", "lib/__init__.py"],
        ["{link}"],
        ["{link}/lib", "{here}/main.py", "other.py", "quiet.py"],
    ],
)
def test_the_spelling_of_the_paths_makes_no_difference(project: Path, paths: list[str]) -> None:
    expected = story(check_paths(["."], Config(), jobs=1))
    link = project.parent / f"link-to-{project.name}"
    link.symlink_to(project)
    given = [path.format(here=project, link=link) for path in paths]
    result = check_paths(given, Config(), jobs=1)
    assert result.files == len(FILES) and story(result) == expected


@pytest.mark.parametrize("folder", ["lib", ".."])
def test_the_current_folder_makes_no_difference(project: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    expected = story(check_paths(["."], Config(), jobs=1))
    monkeypatch.chdir(folder)
    result = check_paths([os.path.relpath(project)], Config(), jobs=1)
    assert story(result) == expected and result.findings[0].evidence[0].path == os.path.relpath(project / "other.py")


def test_the_number_of_jobs_makes_no_difference(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = check_paths(["."], Config(), jobs=1)
    monkeypatch.setattr(run, "_MANY_FILES", 1)
    monkeypatch.setattr(run, "_BATCH_FILES", 1)
    started: list[int] = []
    make = pool._pool

    def start(workers: int) -> Any:
        started.append(workers)
        return make(workers)

    monkeypatch.setattr(pool, "_pool", start)
    assert check_paths(["."], Config(), jobs=2) == expected
    assert started == [2], "the processes of the first round do the others, too"
    with ThreadPoolExecutor(2) as threads:
        assert check_paths(["."], Config(), executor=threads) == expected


def test_names_that_cannot_be_written_down_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "\udcff", "a%3Ab"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "evaluation.py").write_text(EVALUATION)
        (folder / "main.py").write_text(GUARDED.replace("lib.evaluation", "evaluation"))
    assert check_paths(["."], Config(), jobs=1).findings == ()


# -- rounds ------------------------------------------------------------------------------------------------------------


class FakeLink(Link):
    """Tells what a test wants told, round by round, and remembers what it was told itself."""

    rounds: ClassVar[list[dict[str, View]]] = []
    told: ClassVar[list[list[str]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.told.append([])

    def tell(self, interface: Interface, reads: Reads | None = None) -> None:
        self.told[-1].append(interface.path)

    def views(self) -> dict[str, View]:
        self.told.append([])
        return self.rounds.pop(0) if self.rounds else {}


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Return what sets the views of each round, and returns what the files tell before each."""

    def fake(*views: dict[str, View]) -> list[list[str]]:
        monkeypatch.setattr("gradlint.linking.link.Link", FakeLink)
        FakeLink.rounds, FakeLink.told = list(views), []
        return FakeLink.told

    return fake


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the files that are looked at, in this process, one entry for each look."""
    seen: list[str] = []
    check = filecheck.check_file

    def counting(job: Job, settings: Settings) -> Report:
        seen.append(job.name)
        return check(job, settings)

    monkeypatch.setattr(filecheck, "check_file", counting)
    return seen


ASKED = View(asked=frozenset({"add"}))


def test_only_what_is_told_something_is_looked_at_again(
    project: Path, rounds: Callable[..., list[list[str]]], looks: list[str]
) -> None:
    told = rounds({"main.py": ASKED, "gone.py": ASKED})
    check_paths(["."], Config(), jobs=1)
    assert looks == ["lib/evaluation.py", "main.py", "other.py", "quiet.py", "main.py"]
    assert told == [["lib/__init__.py", "lib/evaluation.py", "main.py", "other.py", "quiet.py"], ["main.py"], []]


def test_a_file_that_says_nothing_is_looked_at_again_only_if_it_is_asked(
    project: Path, rounds: Callable[..., list[list[str]]], looks: list[str]
) -> None:
    rounds({"quiet.py": View(aliases={"a": "b"}), "other.py": ASKED})
    check_paths(["."], Config(), jobs=1)
    assert looks.count("quiet.py") == 1 and looks.count("other.py") == 2


def test_what_was_not_looked_at_again_stays_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is asked for is solved then, and the rest of the file is as it was told first."""
    (project / "quiet.py").write_text(QUIET + "\n\ndef twice(a):\n    return add(a, a)\n\n\nclass Sum:\n    pass\n")
    told: list[Interface] = []

    class Asking(Link):
        def tell(self, interface: Interface, reads: Reads | None = None) -> None:
            if interface.path == "quiet.py":
                told.append(interface)

        def views(self) -> dict[str, View]:
            return {"quiet.py": ASKED} if len(told) == 1 else {}

    monkeypatch.setattr("gradlint.linking.link.Link", Asking)
    check_paths(["."], Config(), jobs=1)
    first, second = told
    assert not first.functions["add"].solved and second.functions["add"].solved
    assert first.functions["twice"] == second.functions["twice"] and second.functions["twice"].calls
    assert first.classes == second.classes


def test_the_rounds_come_to_an_end(
    project: Path, rounds: Callable[..., list[list[str]]], looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, int]] = []
    rounds(*({"main.py": View(asked=frozenset({str(number)}))} for number in range(100)))
    check_paths(["."], Config(), jobs=1, on_progress=lambda done, total: steps.append((done, total)))
    assert looks.count("main.py") == 1 + run.MOST_ROUNDS
    assert steps == sorted(steps) and steps[-1] == (5, 5) and {total for _, total in steps} == {5}


def test_a_file_that_changes_meanwhile_keeps_its_first_report(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Link.views

    def meanwhile(link: Link) -> dict[str, View]:
        (project / "lib" / "evaluation.py").write_text("import torch\ntorch.no_grad()\n")
        (project / "main.py").unlink(missing_ok=True)
        return views(link)

    monkeypatch.setattr(Link, "views", meanwhile)
    finding = unguarded(check_paths(["."], Config(), jobs=1))
    assert {step.path for step in finding.evidence} == {finding.path}


def test_a_file_that_kills_its_process_later_takes_nothing_along(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = filecheck.check_file

    def deadly(job: Job, settings: Settings) -> Report:
        if job.name == "main.py" and job.view is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return check(job, settings)

    views = Link.views

    def told(link: Link) -> dict[str, View]:
        return {"main.py": ASKED} | views(link)

    monkeypatch.setattr(Link, "views", told)
    monkeypatch.setattr(filecheck, "check_file", deadly)
    monkeypatch.setattr(pool, "_may_fork", lambda: True)
    monkeypatch.setattr(run, "_MANY_FILES", 1)
    result = check_paths(["."], Config(), jobs=2)
    assert result.failed == ("main.py",)
    assert [(finding.path, finding.code) for finding in result.findings] == [
        (os.path.join("lib", "evaluation.py"), "GRD102"),
        ("main.py", "GRD002"),
    ]


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken_link(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(link: Link) -> dict[str, View]:
        raise KeyError("boom")

    monkeypatch.setattr(Link, "views", fail)


@pytest.mark.usefixtures("broken_link")
def test_linking_that_fails_is_reported_and_the_rest_stands(project: Path) -> None:
    result = check_paths(["."], Config(), jobs=1)
    assert [finding.code for finding in result.findings] == ["GRD002", "GRD102"]
    assert result.findings[0].message == "what the files tell each other was not put together (KeyError: 'boom')"
    assert len(result.failed) == 1
    assert check_paths(["."], Config(ignore=("GRD002",)), jobs=1).failed == ()
    with pytest.raises(KeyError):
        check_paths(["."], Config(), jobs=1, raise_internal_errors=True)


def test_a_file_that_cannot_tell_is_reported_and_its_findings_stand(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "other.py").write_text("import torch\n\ntorch.no_grad()\n")

    def fail(*_: Any) -> Interface:
        raise KeyError("boom")

    monkeypatch.setattr("gradlint.project.linked.sketch.sketch", fail)
    found = check_paths(["other.py", "main.py"], Config(), jobs=1).findings
    assert [(finding.path, finding.code) for finding in found] == [
        ("main.py", "GRD002"),
        ("other.py", "GRD002"),
        ("other.py", "GRD103"),
    ]


def test_a_file_that_is_no_python_tells_nothing(
    project: Path, rounds: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "main.py").write_text(GUARDED + "(")
    (project / "other.py").write_bytes(b"\xff\xfe")
    (project / "quiet.py").write_text(QUIET + "(")
    told = rounds()
    result = check_paths([".", "missing.py"], Config(), jobs=1)
    assert told[0] == ["lib/__init__.py", "lib/evaluation.py"]
    assert result.failed == ("main.py", "missing.py", "other.py", "quiet.py")


def test_a_file_that_is_given_up_still_tells_whom_it_calls(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlint.project import analysis
    from gradlint.project.program import OutOfTime

    def analyse(*_: Any, **__: Any) -> Iterator[Any]:
        yield from ()
        raise OutOfTime

    monkeypatch.setattr(analysis, "analyse", analyse)
    report = filecheck.check_file(Job("main.py", GUARDED.encode(), name="main.py"), Settings(frozenset()))
    assert report.told is not None
    main = decode_interface(report.told).functions["main"]
    assert not main.solved and [call.callee for call in main.calls] == ["lib.evaluation.evaluate"]
