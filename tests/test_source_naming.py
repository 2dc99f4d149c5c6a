"""What files are called among each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradlint.source.naming import names


def made(folder: Path, *paths: str) -> list[str]:
    """Make empty files, and return their names."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return names([str(folder / path) for path in paths if path.endswith(".py")])


@pytest.mark.parametrize("mark", ["pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg"])
def test_names_begin_below_the_project(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).touch()
    assert made(tmp_path, "src/pkg/a.py", "src/pkg/b.py") == ["src/pkg/a.py", "src/pkg/b.py"]
    assert made(tmp_path, "src/pkg/b.py") == ["src/pkg/b.py"]


def test_the_nearest_project_around_all_files_counts(tmp_path: Path) -> None:
    made(tmp_path, "pyproject.toml", "inner/setup.py", "inner/deep/setup.cfg")
    assert made(tmp_path, "inner/deep/a.py", "inner/b.py") == ["deep/a.py", "b.py"]
    assert made(tmp_path, "inner/deep/a.py", "c.py") == ["inner/deep/a.py", "c.py"]


def test_without_a_project_names_begin_around_the_package(tmp_path: Path) -> None:
    assert made(tmp_path, "pkg/__init__.py", "pkg/inner/__init__.py", "pkg/inner/a.py")[2] == "pkg/inner/a.py"
    assert made(tmp_path, "pkg/inner/a.py", "pkg/inner/b.py") == ["pkg/inner/a.py", "pkg/inner/b.py"]
    assert made(tmp_path, "scripts/a.py", "scripts/b.py") == ["scripts/a.py", "scripts/b.py"]
    assert made(tmp_path, "scripts/old/a.py", "scripts/old/b.py") == ["old/a.py", "old/b.py"]


def test_what_would_break_a_name_is_spelt_out(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert made(tmp_path, "a:b/\udcff.py", "a%003Ab/x.py", "é/y.py") == [
        "a%003Ab/%DCFF.py",
        "a%0025003Ab/x.py",
        "é/y.py",
    ]


def test_there_may_be_no_files() -> None:
    assert names([]) == []
