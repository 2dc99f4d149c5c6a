"""``prove()``: differential proof. The program is run again without and with the fix of each finding, and compared.

Every run has a process of its own. The fixes are made in memory, while the program's modules are loaded: no file is
changed. Two runs without a fix show what differs by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from gradlint.finding import Edit, Finding
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify.changes import Changes, changes
from gradlint.runtime.verify.distributed import ranks
from gradlint.runtime.verify.program import Program
from gradlint.runtime.verify.trial import START, Request, Trial, read

ABOUT_MEMORY = frozenset({"GRD102", "GRD402"})
"""The rules whose fix must leave gradients alone: what it changes is what is kept for a backward that never comes."""

_PATIENCE, _SLACK = 5, 60.0
_TRIED = frozenset({Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE})


Edits = tuple[str, tuple[Edit, ...]]
"""The absolute path of a file, and what is edited in it."""


class _NoTrial(Exception):
    """A run told nothing; the text says why."""


def prove(
    program: Program,
    verified: Sequence[Verified],
    *,
    include: Sequence[str] = (),
    seed: int = 0,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], object] | None = None,
) -> list[Verified]:
    """Return ``verified`` with what the fix of each finding whose code ran changes about the program.

    Where it removes an error, changes gradients, parameters or the gradient mode at the end, the finding is CONFIRMED;
    one of `ABOUT_MEMORY` where it frees graphs that no backward used. Where it changes nothing the verdict stays.
    The figures say what changed. ``program`` runs twice as it is and once per finding with a fix, in the current
    folder, with its random numbers seeded, no input, and what it prints thrown away; a run with a fix that takes five
    times as long as without (and a minute more) is ended. ``environment`` is what the runs find in ``os.environ``
    (default: what is there now, which the program may have changed); ``say`` is told which run begins.
    """
    environment = os.environ if environment is None else environment
    if ranks(environment) is not None:
        return [_with(each, "no fix was tried: several processes run the program") for each in verified]
    wanted = [each for each in verified if each.verdict in _TRIED and each.finding.fixes]
    if not wanted:
        return [_untried(each) for each in verified]
    with tempfile.TemporaryDirectory(prefix="gradlint-") as folder:
        trials = _Trials(program, tuple(include), seed, dict(environment), Path(folder), say)
        level = _level(each.finding for each in wanted)
        try:
            base, again = trials.run("without a fix", level), trials.run("without a fix, again", level)
        except _NoTrial as reason:
            return [
                _with(each, f"no fix was tried: {reason}") if each in wanted else _untried(each) for each in verified
            ]
        return [_proved(each, trials, base, again) if each in wanted else _untried(each) for each in verified]


@dataclass(slots=True)
class _Trials:
    """Runs a program in processes of their own; ``slowest`` is how long the slowest run without a fix took."""

    program: Program
    include: tuple[str, ...]
    seed: int
    environment: dict[str, str]
    folder: Path
    say: Callable[[str], object] | None
    slowest: float = 0.0
    count: int = 0
    done: dict[Edits, Trial] = field(default_factory=dict)

    def fixed(self, where: str, level: int, edits: Edits) -> Trial:
        """Run it with ``edits``, unless that was done already. Raises `_NoTrial` as `run` does."""
        if edits not in self.done:
            path, made = edits
            self.done[edits] = self.run(where, level, {path: made})
        return self.done[edits]

    def run(self, what: str, level: int, edits: Mapping[str, tuple[Edit, ...]] | None = None) -> Trial:
        """Run it once. Raises `_NoTrial` if it did not come to an end that could be looked at."""
        if self.say is not None:
            self.say(f"running {self.program} {what}")
        self.count += 1
        outcome, request = (self.folder / f"{self.count}.{ending}" for ending in ("pt", "json"))
        wish = Request(self.program, str(outcome), dict(edits or {}), self.include, level, self.seed)
        request.write_bytes(msgspec.json.encode(wish))
        limit = _PATIENCE * self.slowest + _SLACK if edits else None
        started = time.perf_counter()
        try:
            code = _process([sys.executable, "-c", START, str(request)], self.environment, limit)
        except subprocess.TimeoutExpired:
            raise _NoTrial(f"it did not end within {limit:.0f} s") from None
        if not edits:
            self.slowest = max(self.slowest, time.perf_counter() - started)
        trial = read(str(outcome))
        outcome.unlink(missing_ok=True)
        if trial is None:
            raise _NoTrial(f"the process was gone before it could be looked at (exit code {code})")
        if trial.refusal:
            raise _NoTrial(trial.refusal)
        return trial


def _process(command: list[str], environment: dict[str, str], limit: float | None) -> int:
    """Run ``command`` with a fixed seed for the hashes of strings, without input and output; return its exit code."""
    full = {"PYTHONHASHSEED": "0", **environment, "PYTHONDONTWRITEBYTECODE": "1"}
    nowhere = subprocess.DEVNULL
    return subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=full, timeout=limit).returncode


def _proved(each: Verified, trials: _Trials, base: Trial, again: Trial) -> Verified:
    finding = each.finding
    path = os.path.abspath(finding.path)
    where = f"with the fix of {finding.code} in {finding.path}:{finding.location.line}"
    try:
        fixed = trials.fixed(where, _level([finding]), (path, finding.fixes[0].edits))
    except _NoTrial as reason:
        return _with(each, f"with the fix nothing is known: {reason}")
    if path not in fixed.applied:
        return _with(each, "no fix was tried: the file is not loaded from its source by Python itself")
    return _judged(each, changes(base, again, fixed), fixed)


def _judged(each: Verified, found: Changes, fixed: Trial) -> Verified:
    if found.unsure and not found.figures:
        return _with(each, f"what the fix changes is not known: {found.unsure}")
    if found.broken:
        return _with(each, *found.figures, "so this fix is wrong here")
    if each.finding.code in ABOUT_MEMORY and found.gradients:
        return _with(each, *found.figures, "so the fix takes away a graph that is used")
    if not found.figures:
        return _with(each, f"the fix changes nothing: {_same(fixed)}")
    proves = found.error or found.gradients or found.mode or found.memory
    return replace(_with(each, *found.figures), verdict=Verdict.CONFIRMED if proves else each.verdict)


def _same(trial: Trial) -> str:
    if not trial.steps:
        return "the end, the gradients and the mode are the same; no optimizer stepped"
    return f"gradients, parameters and mode are the same ({trial.steps} steps)"


def _level(findings: Iterable[Finding]) -> int:
    """Return how closely a run must be watched: for bytes at level 3, else for graphs and modes only."""
    return 3 if any(finding.code in ABOUT_MEMORY for finding in findings) else 0


def _untried(each: Verified) -> Verified:
    return _with(each, "no fix to try") if each.verdict in _TRIED else each


def _with(each: Verified, *figures: str) -> Verified:
    return replace(each, figures=(*each.figures, *figures))
