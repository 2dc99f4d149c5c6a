"""Every fixture says what gradlint must find in it and what torch does with it; both are executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gradlint.testing import check_fixture, parse_claims, snapshot

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SCENARIOS = sorted(FIXTURES.glob("GRD*/*.py"))


def name(path: Path) -> str:
    return path.relative_to(FIXTURES).as_posix()


# The engine's own codes are about text, not about torch: their files may not even be Python.
RUNNABLE = [path for path in SCENARIOS if not path.parent.name.startswith("GRD0")]


@pytest.mark.parametrize("path", SCENARIOS, ids=name)
def test_findings_are_those_expected(path: Path) -> None:
    assert "\n".join(check_fixture(path)) == ""


@pytest.mark.parametrize("path", SCENARIOS, ids=name)
def test_output_is_the_snapshot(path: Path, bless: Callable[[Path, str], None]) -> None:
    bless(path.with_suffix(".out"), snapshot(path.read_text(encoding="utf-8"), path.name, path.parent.name))


@pytest.mark.torch
@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_torch_does_what_the_fixture_says(path: Path) -> None:
    from gradlint.runtime.truth import check_claim

    text = path.read_text(encoding="utf-8")
    outcomes = [check_claim(text, str(path), function, claim) for function, claim in parse_claims(text).items()]
    assert "\n".join(outcome for outcome in outcomes if outcome) == ""


def test_no_snapshot_is_orphaned() -> None:
    assert [name(path) for path in sorted(FIXTURES.glob("GRD*/*.out")) if not path.with_suffix(".py").exists()] == []


def test_folders_are_called_like_rules() -> None:
    assert {path.parent.name[:3] for path in SCENARIOS} == {"GRD"}
