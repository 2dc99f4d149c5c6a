"""gradlint as it is in the working tree or was at a revision, each in a folder of its own, ready to lint with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlint.dev.mirrors import Mirror, MirrorError

INTERNAL_ERROR = "GRD002"
# Findings, and files that cannot be parsed, are answers; every other exit status is a crash.
_ANSWERS = (0, 1, 2)
_TAIL = 2000
# `pyproject.toml` installs the folder `rules` as `gradlint.rules`; a copy has to do the same.
_WHERE = "import os, gradlint, gradlint.rules as r; print(os.path.dirname(gradlint.__file__), *r.__path__, sep='\\n')"


class RevisionError(Exception):
    """There is no gradlint to be had at a revision; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What one side says about one folder. ``crash`` says why there is no answer, and is empty if there is one.

    ``findings`` are objects of the ``json`` format.
    """

    findings: tuple[Mapping[str, Any], ...]
    files: int
    seconds: float
    crash: str = ""

    @property
    def errors(self) -> list[str]:
        """Everything that went wrong: the crash, and the internal errors that were reported as findings."""
        broken = [each for each in self.findings if each["code"] == INTERNAL_ERROR]
        said = [f"{each['path']}:{each['line']} {each['code']} {each['message']}" for each in broken]
        return [self.crash, *said] if self.crash else said


@dataclass(frozen=True)
class Side:
    """One gradlint: ``name`` is shown, ``site`` is the folder to import it from."""

    name: str
    site: Path

    def lint(self, linted: Path, folder: Path, jobs: int, timeout: float) -> Answer:
        """Run ``gradlint check`` on ``linted``; the paths in the answer are relative to ``folder``.

        A crash or more than ``timeout`` seconds are reported in the answer, not raised.
        """
        command = [sys.executable, "-m", "gradlint", "check", "--format", "json", "--isolated", "--jobs", str(jobs)]
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as empty:
            try:
                done = self._run([*command, str(linted)], empty, timeout)
            except subprocess.TimeoutExpired:
                return Answer((), 0, time.perf_counter() - start, f"no answer after {timeout:.0f} s")
            seconds = time.perf_counter() - start
            words = done.stderr.decode(errors="replace").strip()[-_TAIL:]
            if done.returncode not in _ANSWERS:
                return Answer((), 0, seconds, f"exit status {done.returncode}: {words}")
            try:
                report = json.loads(done.stdout)
                found = tuple(_relative(each, Path(empty), folder) for each in report["findings"])
                return Answer(found, int(report["summary"]["files"]), seconds)
            except (ValueError, KeyError, TypeError) as error:
                return Answer((), 0, seconds, f"no usable JSON ({error!r}): {words}")

    def check(self) -> None:
        """Raise `RevisionError` unless it is this copy that runs, rules included, and not an installed one."""
        with tempfile.TemporaryDirectory() as empty:
            done = self._run([sys.executable, "-c", _WHERE], empty, 60.0)
        home = self.site / "gradlint"
        if done.returncode != 0 or done.stdout.decode().split("\n")[:2] != [str(home), str(home / "rules")]:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise RevisionError(f"{self.name} does not run from {self.site}: {words[-_TAIL:]}")

    def _run(self, command: list[str], folder: str, timeout: float) -> subprocess.CompletedProcess[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {**kept, "PYTHONPATH": str(self.site), "PYTHONSAFEPATH": "1"}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=timeout, check=False)


def working_tree(root: Path, scratch: Path) -> Side:
    """Copy the gradlint of the checkout ``root`` into ``scratch``, so that edits do not reach a run under way."""
    ignored = shutil.ignore_patterns("__pycache__")
    site = scratch / "working-tree"
    shutil.copytree(root / "gradlint", site / "gradlint", ignore=ignored)
    shutil.copytree(root / "rules", site / "gradlint" / "rules", ignore=ignored)
    return _checked(Side("working tree", site))


def at_revision(root: Path, revision: str, scratch: Path) -> Side:
    """Write the gradlint of the checkout ``root`` as it was at ``revision`` into ``scratch``.

    Raises `RevisionError` if there is no such revision, or no gradlint in it.
    """
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--absolute-git-dir"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RevisionError(f"{root} is no git repository")
    repository = Mirror(root.name, Path(done.stdout.rstrip("\n")))
    site = scratch / "base"
    try:
        commit = repository.commit(revision)
        repository.check_out(commit, site, lambda path: path.startswith(("gradlint/", "rules/")))
    except MirrorError as error:
        raise RevisionError(str(error)) from None
    if not (site / "gradlint").is_dir() or not (site / "rules").is_dir():
        raise RevisionError(f"there is no gradlint in {revision}")
    (site / "rules").rename(site / "gradlint" / "rules")
    return _checked(Side(f"{revision} ({commit[:10]})" if not commit.startswith(revision) else commit[:10], site))


def _checked(side: Side) -> Side:
    side.check()
    return side


def _relative(finding: Mapping[str, Any], cwd: Path, folder: Path) -> Mapping[str, Any]:
    def path(each: Mapping[str, Any]) -> str:
        return Path(os.path.relpath(cwd / each["path"], folder)).as_posix()

    steps = [{**step, "path": path(step)} for step in finding["evidence"]]
    return {**finding, "path": path(finding), "evidence": steps}
