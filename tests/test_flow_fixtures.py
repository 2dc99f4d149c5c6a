"""The grad modes of one construct per file: ``fixtures/flow``. The comments say what is revealed, and torch agrees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradlint.project.reveal import reveal

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "flow"
FILES = sorted(FOLDER.glob("*.py"))
COMMENT = re.compile(r"# revealed: ([A-Z, ]+|nothing)$")
RUNS = 400

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def expected(text: str) -> dict[int, list[str]]:
    """The modes that the comments give, by line."""
    found = {number: COMMENT.search(line) for number, line in enumerate(text.splitlines(), 1)}
    return {number: [] if match[1] == "nothing" else match[1].split(", ") for number, match in found.items() if match}


@every_file
def test_revealed_modes_are_those_in_the_comments(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert reveal(text) == list(expected(text).items())


@every_file
def test_every_probe_has_a_comment_and_every_comment_a_probe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    probes = [number for number, line in enumerate(text.splitlines(), 1) if "reveal_grad_mode()" in line]
    assert probes == list(expected(text))
    assert text.count("# revealed") == len(probes)


@pytest.mark.torch
@every_file
def test_torch_shows_the_modes_in_the_comments(path: Path) -> None:
    from observed import ERRORS, Choices, entering  # needs torch

    text = path.read_text(encoding="utf-8")
    choices = Choices(seed=1)
    names: dict[str, Any] = {"c": choices, "maybe_raise": choices.may_raise, "reveal_grad_mode": choices.probe}
    exec(compile(text, str(path), "exec"), names)
    for run in [thing for name, thing in names.items() if name.startswith("run")]:
        for _ in range(RUNS):
            choices.begin()
            with entering("ON"):
                try:
                    run()
                except ERRORS:
                    continue
    for line, modes in expected(text).items():
        assert set(choices.seen[line]) == {"ON" if mode == "INHERITED" else mode for mode in modes}, f"line {line}"
