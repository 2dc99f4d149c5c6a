"""One run of ``gradlint check`` on one folder: what it found, what it cost, whether it crashed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Findings, and files that cannot be parsed, are answers; every other exit status is a crash.
ANSWERS = (0, 1, 2)
TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, order=True)
class Site:
    """Where a finding stands in a pinned package. ``path`` is relative to the folder the wheel was unpacked in."""

    package: str
    version: str
    path: str
    line: int
    code: str


@dataclass(frozen=True)
class Found:
    """One finding in a package; ``because`` are the paths, lines and words of its evidence."""

    site: Site
    message: str
    certainty: str
    because: tuple[tuple[str, int, str], ...]

    def row(self) -> dict[str, object]:
        """The finding as one flat JSON object."""
        return {**asdict(self.site), "message": self.message, "certainty": self.certainty, "because": self.because}


@dataclass(frozen=True)
class Lint:
    """The outcome of one run on ``files`` files. ``crash`` says what went wrong and is empty when nothing did."""

    found: tuple[Found, ...]
    files: int
    seconds: float
    exit_code: int
    crash: str


def default_command() -> list[str]:
    """The gradlint of the running interpreter, isolated: neither the current folder nor ``PYTHON*`` reach it."""
    return [sys.executable, "-I", "-m", "gradlint"]


def command_of(option: str | None) -> list[str]:
    """The command line that ``--gradlint`` gives, split like a shell does, or the default one."""
    return shlex.split(option) if option else default_command()


def lint(
    command: Sequence[str], folder: Path, root: Path, name: str, version: str, timeout: float = TIMEOUT_SECONDS
) -> Lint:
    """Run ``gradlint check`` on ``folder`` and return what it says; paths become relative to ``root``.

    A crash, an answer that is no JSON, or more than ``timeout`` seconds are reported in the result, not raised.
    """
    arguments = [*command, "check", "--format", "json", "--isolated", str(folder)]
    start = time.perf_counter()
    # An empty working folder: nothing in the linted tree can shadow a module or configure the run.
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(arguments, cwd=empty, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return Lint((), 0, time.perf_counter() - start, -1, f"no answer after {timeout:.0f} s")
        except OSError as error:
            return Lint((), 0, 0.0, -1, f"cannot be started: {error}")
        seconds = time.perf_counter() - start
        words = done.stderr.decode(errors="replace").strip()
        if done.returncode not in ANSWERS:
            return Lint((), 0, seconds, done.returncode, f"exit status {done.returncode}: {words[-2000:]}")
        try:
            report = json.loads(done.stdout)
            found = tuple(parse(report, Path(empty), root, name, version))
            files = int(report["summary"]["files"])
        except (ValueError, KeyError, TypeError) as error:
            return Lint((), 0, seconds, done.returncode, f"no usable JSON ({error!r}): {words[-2000:]}")
    return Lint(found, files, seconds, done.returncode, "")


def parse(report: Any, cwd: Path, root: Path, name: str, version: str) -> Iterable[Found]:
    """Yield the findings of a JSON report. Raises `KeyError` or `TypeError` when it has another shape."""

    def relative(path: str) -> str:
        return Path(os.path.relpath(cwd / path, root)).as_posix()

    for finding in report["findings"]:
        site = Site(name, version, relative(finding["path"]), int(finding["line"]), str(finding["code"]))
        steps = finding["evidence"]
        because = tuple((relative(step["path"]), int(step["line"]), str(step["text"])) for step in steps)
        yield Found(site, str(finding["message"]), str(finding["certainty"]), because)
