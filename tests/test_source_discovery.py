"""Which files are linted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradlint.source.discovery import Excludes, discover, is_excluded


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    for name in ("a.py", "b.txt", "sub/c.py", "sub/d.pyw", ".venv/e.py", "sub/build/f.py", "x.egg-info/g.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def shown(*paths: str, **options: object) -> list[str]:
    return [target.shown for target in discover(paths or (".",), Excludes(".", **options))]  # type: ignore[arg-type]


def test_python_files_outside_folders_of_others(tree: Path) -> None:
    assert shown() == ["a.py", "sub/c.py", "sub/d.pyw"]


def test_files_that_are_named_are_taken_whatever_they_are(tree: Path) -> None:
    assert shown("b.txt", ".venv/e.py", ".venv") == [".venv/e.py", "b.txt"]
    assert shown("b.txt", ".venv/e.py", force=True) == ["b.txt"]
    assert shown("nosuch.py") == ["nosuch.py"]


def test_a_file_is_taken_once_whatever_its_spelling(tree: Path) -> None:
    (tree / "link.py").symlink_to("a.py")
    assert shown("./a.py", "sub/../a.py", str(tree / "a.py"), "link.py", ".") == shown()
    assert shown("link.py") == ["link.py"]


def test_paths_are_shown_from_here_or_as_given(tree: Path) -> None:
    (tree.parent / "other").mkdir()
    (tree.parent / "other" / "z.py").touch()
    assert shown("../other") == ["../other/z.py"]
    assert shown(str(tree.parent / "other")) == [str(tree.parent / "other" / "z.py")]
    os.chdir("sub")
    assert shown("..") == ["../a.py", "c.py", "d.pyw"]


def test_links_to_folders_are_followed_only_when_named(tree: Path) -> None:
    (tree.parent / "other").mkdir()
    (tree.parent / "other" / "z.py").touch()
    (tree / "out").symlink_to("../other")
    (tree / "file.py").symlink_to("../other/z.py")
    assert shown() == ["a.py", "file.py", "sub/c.py", "sub/d.pyw"]
    assert shown("out") == ["out/z.py"]


def test_exclude_patterns_are_relative_to_their_folder(tree: Path) -> None:
    assert shown(patterns=(("sub", ("/c.py",)),)) == ["a.py", "sub/d.pyw"]
    assert shown(patterns=((".", ("sub/",)),)) == ["a.py"]
    assert shown(patterns=((".", ("*.py", "!c.py")),)) == ["sub/c.py", "sub/d.pyw"]


def test_gitignore_files_nest_and_negate(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.py\n")
    (tree / "sub" / ".gitignore").write_text("!c.py\n*.pyw\n")
    assert shown() == ["sub/c.py"]
    assert len(shown(gitignore=False)) == 3


def test_gitignore_files_above_count_in_a_repository_only(tree: Path) -> None:
    (tree / ".gitignore").write_text("d.pyw\n")
    assert shown("sub") == ["sub/c.py", "sub/d.pyw"]
    (tree / ".git" / "info").mkdir(parents=True)
    assert shown("sub") == ["sub/c.py"]
    (tree / ".git" / "info" / "exclude").write_text("c.py\n")
    assert shown("sub") == []
    assert shown("sub/c.py") == ["sub/c.py"]
    assert shown("sub/c.py", force=True) == []


def test_whether_a_file_that_is_not_there_would_be_excluded(tree: Path) -> None:
    excludes = Excludes(".", ((".", ("skip*",)),))
    assert is_excluded("skipped.py", excludes) and is_excluded("node_modules/x/y.py", excludes)
    assert not is_excluded("new.py", excludes)


def test_a_folder_that_cannot_be_listed_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    targets = discover(["."], Excludes("."))
    assert [(t.shown, t.problem) for t in targets if t.problem] == [
        ("sub", "the folder cannot be listed: permission denied")
    ]


def test_names_that_are_no_text_and_locks_of_editors(tree: Path) -> None:
    Path(os.fsdecode(b"\xff.py")).touch()
    (tree / ".#a.py").symlink_to("user@host")
    assert shown()[-1] == "\udcff.py" and len(shown()) == 4
    assert shown("a\0.py") == ["a\0.py"]
