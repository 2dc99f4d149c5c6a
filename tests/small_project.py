"""A small project whose files call each other: an evaluation that one caller guards and one does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradlint import Finding, Result

EVALUATION = """\
import torch


def evaluate(model, val_loader):
    model.eval()
    total = 0
    for x, y in val_loader:
        total += model(x).argmax(1).eq(y).sum().item()
    return total
"""
GUARDED = """\
import torch
from lib.evaluation import evaluate


def main(model, val_loader):
    with torch.no_grad():
        print(evaluate(model, val_loader))
"""
UNGUARDED = """\
from lib.evaluation import evaluate


def report(model, val_loader):
    print(evaluate(model, val_loader))
"""
QUIET = "def add(a, b):\n    return a + b\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, now the current one, of an evaluation and two callers: one is guarded, one says nothing."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").touch()
    (tmp_path / "lib" / "evaluation.py").write_text(EVALUATION)
    (tmp_path / "main.py").write_text(GUARDED)
    (tmp_path / "other.py").write_text(UNGUARDED)
    (tmp_path / "quiet.py").write_text(QUIET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unguarded(result: Result) -> Finding:
    """Return the only finding: the evaluation that somebody calls with gradients on."""
    [finding] = result.findings
    assert finding.code == "GRD102" and finding.path == os.path.join("lib", "evaluation.py")
    return finding
