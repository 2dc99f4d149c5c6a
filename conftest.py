"""What holds for the tests in ``tests/`` and in ``benchmarks/``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules that are all about torch where only the static part is tested: they cannot be imported."""
    if config.getoption("markexpr") != "not torch" or not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if re.search(r"^pytestmark\b.*\bmark\.torch\b", text, re.MULTILINE) else None
