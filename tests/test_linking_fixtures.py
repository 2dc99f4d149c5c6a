"""Projects of several files: what gradlint must find in them across files, and what torch does; both are executed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gradlint import Config, check_paths
from gradlint.testing import check_project, project_claims, project_snapshot
from gradlint.testing.projects import files, lint_project

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "linking"
PROJECTS = sorted(path for path in FIXTURES.iterdir() if path.is_dir())


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("root", PROJECTS, ids=name)
def test_findings_are_those_expected(root: Path) -> None:
    assert "\n".join(check_project(root)) == ""


@pytest.mark.parametrize("root", PROJECTS, ids=name)
def test_output_is_the_snapshot(root: Path, bless: Callable[[Path, str], None]) -> None:
    bless(FIXTURES / f"{root.name}.out", project_snapshot(root))


@pytest.mark.parametrize("root", PROJECTS, ids=name)
def test_order_and_spelling_of_paths_do_not_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = lint_project(root).findings
    monkeypatch.chdir(root)
    names = [path.relative_to(root).as_posix() for path in reversed(files(root))]
    assert check_paths([*names, *map(os.path.abspath, names)], Config(), jobs=1).findings == together


@pytest.mark.torch
@pytest.mark.parametrize("root", PROJECTS, ids=name)
def test_torch_does_what_the_project_says(root: Path) -> None:
    from gradlint.runtime.truth import check_project_claim

    outcomes = [
        check_project_claim(root, path, function, claim)
        for path, claims in project_claims(root).items()
        for function, claim in claims.items()
    ]
    assert outcomes and "\n".join(outcome for outcome in outcomes if outcome) == ""


@pytest.mark.parametrize("root", PROJECTS, ids=name)
def test_a_project_is_small_and_has_a_legal_twin(root: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
    assert 2 <= len([text for text in texts if text]) <= 6
    claims = {function for path in project_claims(root).values() for function in path}
    assert any(function.endswith("_ok") for function in claims)


def test_no_snapshot_is_orphaned() -> None:
    assert [path.name for path in sorted(FIXTURES.glob("*.out")) if not path.with_suffix("").is_dir()] == []
