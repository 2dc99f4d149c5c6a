"""What the page about verifying says is what the command does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gradlint.runtime.verdict import Verdict
from gradlint.runtime.verify.command import verify

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """Return what stands in the first column of the table below ``heading``."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `?(.+?)`? \|", section, re.MULTILINE)


@pytest.mark.torch
def test_the_example_is_what_is_printed() -> None:
    shown = re.search(r"<!-- verified -->\n```console\n\$ gradlint (.*)\n((?s:.*?))```", PAGE)
    assert shown is not None
    full = [sys.executable, "-m", "gradlint", *shown.group(1).split()]
    folder = ROOT / "fixtures" / "verify" / "ranking"
    done = subprocess.run(full, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    # Numbers and versions differ between machines.
    assert plain(done.stdout) == plain(shown.group(2))


def plain(text: str) -> str:
    text = re.sub(r"^(validation error|mean score) \S+$", r"\1 N", text, flags=re.MULTILINE)
    return re.sub(r"; torch .*", "; torch", text)


def test_options_verdicts_and_formats_are_all_described() -> None:
    options = {name for parameter in verify.params for name in parameter.opts if name.startswith("--")}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", PAGE)) <= options | {"--help"}
    assert set(rows("The verdicts")) - {"verdict", "---"} == {verdict.value for verdict in Verdict}
    (form,) = [parameter for parameter in verify.params if "--format" in parameter.opts]
    assert isinstance(form.type, click.Choice)
    assert set(form.type.choices) <= set(rows("Reports and exit status"))
