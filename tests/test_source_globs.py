"""Patterns as in .gitignore, checked against pathspec."""

from __future__ import annotations

import pathspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlint.source.globs import Globs, compile_glob

PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "*b", "[ab]", "[!a]", "a*b"]), min_size=1)
LINES = st.builds(
    lambda bang, first, parts, last: bang + first + "/".join(parts) + last,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    PARTS,
    st.sampled_from(["", "", "/"]),
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "c"]), min_size=1, max_size=5)


def excluded(globs: Globs, parts: list[str]) -> bool:
    """Walk down as the linter does: what is inside an excluded folder stays excluded."""
    steps = [("/".join(parts[:count]), count < len(parts)) for count in range(1, len(parts) + 1)]
    return any(globs.decide(path, is_folder) for path, is_folder in steps)


@settings(max_examples=400)
@given(st.lists(LINES.filter(lambda line: not line.startswith("!")), min_size=1, max_size=4), PATHS)
def test_agrees_with_pathspec(lines: list[str], parts: list[str]) -> None:
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    assert excluded(Globs(lines), parts) == spec.match_file("/".join(parts))


@pytest.mark.parametrize(
    ("lines", "path", "folder", "decision"),
    [
        (["*.py"], "a/b.py", False, True),
        (["/b.py"], "a/b.py", False, None),
        (["a/"], "a", False, None),
        (["a/"], "a", True, True),
        (["*.py", "!b.py"], "b.py", False, False),
        (["!b.py", "*.py"], "b.py", False, True),
        ([r"\#x"], "#x", False, True),
        ([r"\!x"], "!x", False, True),
        ([r"\*"], "x", False, None),
        ([r"a\ "], "a ", False, True),
        (["a  "], "a", False, True),
        (["[^a]"], "b", False, True),
        (["# words", "", "/"], "words", False, None),
        (["a/**"], "a", True, None),
        (["a/**"], "a/b", False, True),
        (["**"], "a", False, True),
        (["a[b"], "a[b", False, True),
        (["x\r"], "x", False, True),
    ],
)
def test_rules_of_gitignore(lines: list[str], path: str, folder: bool, decision: bool | None) -> None:
    assert Globs(lines).decide(path, folder) is decision


def test_empty_lines_are_no_patterns() -> None:
    assert compile_glob("") is compile_glob("#") is compile_glob("///") is None
    assert not Globs(["", "# nothing"])
