"""What the linter prints about a small project with a configuration, in every format for people and machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gradlint import cli

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "cli"
REPORTS = {
    "full.txt": ["--format", "full"],
    "concise.txt": ["--format", "concise"],
    "statistics.txt": ["--statistics"],
    "github.txt": ["--format", "github"],
    "report.json": ["--format", "json"],
}


@pytest.mark.parametrize("name", REPORTS)
def test_report(
    name: str,
    bless: Callable[[Path, str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(FOLDER / "project")
    assert cli.main(["check", ".", *REPORTS[name]]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    bless(FOLDER / name, out)
