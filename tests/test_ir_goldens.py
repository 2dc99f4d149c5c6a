"""The lowered form of one construct per file: ``fixtures/ir/<construct>.py`` beside its snapshot, ``.out``."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradlint.ir.printer import render
from gradlint.lower.python import lower

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "ir"


def runs_here(path: Path) -> bool:
    """Whether this Python has the syntax: ``py311_<construct>.py`` needs Python 3.11."""
    needed = re.match(r"py3(\d+)_", path.name)
    return needed is None or sys.version_info >= (3, int(needed[1]))


SOURCES = sorted(filter(runs_here, FIXTURES.glob("*.py")))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_golden(path: Path, bless: Callable[[Path, str], None]) -> None:
    text = path.read_text(encoding="utf-8")
    bless(path.with_suffix(".out"), render(lower(text, ast.parse(text))))


def test_every_snapshot_belongs_to_a_source() -> None:
    orphans = [path.name for path in FIXTURES.glob("*.out") if not path.with_suffix(".py").exists()]
    assert not orphans
