"""What holds for the tests in ``tests/`` and in ``benchmarks/``."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules that are all about torch where only the static part is tested: they cannot be imported."""
    if config.getoption("markexpr") != "not torch" or not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if re.search(r"^pytestmark\b.*\bmark\.torch\b", text, re.MULTILINE) else None


@pytest.fixture
def commit() -> Callable[[Path, Mapping[str, str | None]], str]:
    """Write files into a git repository, which is made when it is not there, and return the hash of the commit.

    A file without a text is removed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for who in ("AUTHOR", "COMMITTER"):
        kept |= {f"GIT_{who}_NAME": "gradlint", f"GIT_{who}_EMAIL": "gradlint@example.org"}
    kept |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(folder: Path, *arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, env=kept, check=True, timeout=60, capture_output=True, text=True)
        return done.stdout.strip()

    def make(folder: Path, files: Mapping[str, str | None]) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".git").is_dir():
            git(folder, "init", "-q")
        for name, text in files.items():
            path = folder / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        git(folder, "add", "-A", "-f")
        git(folder, "commit", "-q", "--allow-empty", "-m", "a change")
        return git(folder, "rev-parse", "HEAD")

    return make
