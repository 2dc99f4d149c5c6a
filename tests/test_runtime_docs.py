"""The examples of docs/runtime.md run, and show what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

PAGE = Path(__file__).resolve().parent.parent / "docs" / "runtime.md"
EXAMPLES = re.findall(r"^## (\w+)\n\n```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_every_part_has_an_example() -> None:
    assert [name for name, _ in EXAMPLES] == ["record", "compare", "inference_guard"]


@pytest.mark.parametrize(("name", "code"), EXAMPLES)
def test_the_example_runs(name: str, code: str, tmp_path: Path) -> None:
    script = tmp_path / f"{name}_example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
