"""The hook that the repository offers, run by the real pre-commit from a clone of the working tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("gradlint", "rules", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")

BAD = """import torch


def train(model, x):
    with torch.no_grad():
        loss = model(x).sum()
    loss.backward()
"""
GOOD = """def train(model, x):
    loss = model(x).sum()
    loss.backward()
"""


def environment(home: Path) -> dict[str, str]:
    """The caller's environment without its repository, and with a cache and an author of our own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for who in ("AUTHOR", "COMMITTER"):
        kept |= {f"GIT_{who}_NAME": "gradlint", f"GIT_{who}_EMAIL": "gradlint@example.org"}
    return {**kept, "PRE_COMMIT_HOME": str(home), "PRE_COMMIT_COLOR": "never", "GIT_CONFIG_GLOBAL": os.devnull}


def repository(folder: Path, env: dict[str, str]) -> str:
    """Commit all that lies in ``folder``; return the commit."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=folder, env=env, check=True, timeout=60)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, env=env, check=True, timeout=60, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_hook_fails_on_a_mistake_and_passes_without(tmp_path: Path) -> None:
    env = environment(tmp_path / "cache")
    offered, user = tmp_path / "gradlint", tmp_path / "user"
    offered.mkdir()
    user.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, offered / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, offered / name)
    revision = repository(offered, env)
    (user / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {offered.as_posix()}\n    rev: {revision}\n    hooks:\n      - id: gradlint\n",
        encoding="utf-8",
    )
    (user / "bad.py").write_text(BAD, encoding="utf-8")
    (user / "good.py").write_text(GOOD, encoding="utf-8")
    repository(user, env)

    def run(*files: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pre_commit", "run", "--files", *files]
        return subprocess.run(command, cwd=user, env=env, capture_output=True, text=True, timeout=600, check=False)

    bad = run("bad.py", "good.py")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    assert "Failed" in bad.stdout
    assert "GRD101" in bad.stdout and "bad.py" in bad.stdout
    good = run("good.py", ".pre-commit-config.yaml")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "Passed" in good.stdout
