"""What a fix changes: a run with it, held against two runs without it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.figures import size
from gradlint.runtime.verify.trial import Trial

TOLERANCE = 1e-4
"""Gradients that differ by less than this share of the norm of all gradients of a step are the same: another order of
operations moves them by 1e-7 of it."""

_FACTOR = 10
"""A difference counts if it is so many times that between two runs without the fix."""

_UNSEEDED = 0.05
"""Two runs of a seeded program never differ by as much."""

_SHOWN = 3
_MODES = {"on": "on", "off": "off", "inference": "off (inference mode)"}


@dataclass(slots=True)
class Changes:
    """In what a run with a fix differs. ``figures`` are for people; ``unsure`` says what could not be compared.

    ``error``: it removes one; ``broken``: it raises one. Where it ends in another error nothing else is compared.
    """

    error: bool = False
    broken: bool = False
    gradients: bool = False
    mode: bool = False
    memory: bool = False
    figures: list[str] = field(default_factory=list)
    unsure: str = ""


@dataclass(slots=True)
class _Difference:
    """How the value of one parameter differs: by how much of the norm of all, infinite for None against a value."""

    name: str
    step: int
    base: Any
    fixed: Any
    amount: float

    def __str__(self) -> str:
        return f"`{self.name}`: {_shown(self.base)}, with the fix {_shown(self.fixed)}"


def changes(base: Trial, again: Trial, fixed: Trial) -> Changes:
    """Return in what ``fixed`` differs from ``base``, by more than ``again``, which is the same run as ``base``."""
    found = Changes()
    if (base.error, base.code) != (again.error, again.code):
        found.unsure = f"two runs without it ended differently: {_ended(base)} and {_ended(again)}"
        return found
    _errors(found, base, fixed)
    if found.broken or (fixed.error and fixed.error != base.error):
        return found
    noise = _gradients(found, base, again, fixed)
    if base.mode == again.mode != fixed.mode:
        found.mode = True
        found.figures.append(f"gradients were {_MODES[base.mode]} at the end, with the fix {_MODES[fixed.mode]}")
    _memory(found, base, again, fixed)
    if noise > _UNSEEDED:
        found.unsure = f"two runs without it differ by {noise:.2g} of the gradients' norm: seed what the program draws"
    return found


def _errors(found: Changes, base: Trial, fixed: Trial) -> None:
    if base.error and not fixed.error:
        found.error = True
        found.figures.append(f"`{base.error}`, with the fix no error")
    elif base.error != fixed.error:
        found.broken = not base.error
        before = f"`{base.error}`, with the fix" if base.error else "with the fix the program raised"
        found.figures.append(f"{before} `{fixed.error}`")
    elif base.code != fixed.code:
        found.error, found.broken = not fixed.code, not base.code
        found.figures.append(f"the program ended with exit code {base.code}, with the fix {fixed.code}")


def _ended(trial: Trial) -> str:
    return f"`{trial.error}`" if trial.error else f"exit code {trial.code}" if trial.code else "no error"


# -- gradients ---------------------------------------------------------------------------------------------


def _gradients(found: Changes, base: Trial, again: Trial, fixed: Trial) -> float:
    """Compare what steps saw, what was left and what became of parameters; return how much two equal runs differ."""
    noise = 0.0
    seen: dict[str, _Difference] = {}
    for key in sorted(base.gradients.keys() & fixed.gradients.keys(), key=_step):
        differences, share = _compared(base.gradients[key], again.gradients.get(key, {}), fixed.gradients[key], key)
        noise = max(noise, share)
        for difference in differences:
            seen.setdefault(difference.name, difference)
    if not seen:
        differences, share = _compared(base.left, again.left, fixed.left)
        noise = max(noise, share)
        seen = {difference.name: difference for difference in differences}
    if seen:
        found.gradients = True
        found.figures += _listed(seen.values())
    elif not found.error:
        moved, share = _compared(base.moved, again.moved, fixed.moved)
        noise = max(noise, share)
        if moved:
            found.gradients = True
            found.figures += [f"after the run, by how much it has changed: {each}" for each in moved[:_SHOWN]]
    return noise


def _step(key: str) -> tuple[int, int]:
    optimizer, _, step = key.partition(".")
    return int(step), int(optimizer)


def _compared(
    base: dict[str, Any], again: dict[str, Any], fixed: dict[str, Any], key: str = "0.0"
) -> tuple[list[_Difference], float]:
    """Return the parameters that differ, the most important first, and the largest difference of two equal runs.

    All are shares of the norm of all values: that of a single parameter may be zero (a bias in front of a batch norm),
    and what is left of it is rounding.
    """
    scale = max(_norm(base.values()), _norm(fixed.values())) or 1.0
    steady = [name for name in base if name in again and _state(base[name]) == _state(again[name])]
    noise = max((_distance(base[name], again[name]) / scale for name in steady), default=0.0)
    limit = max(TOLERANCE, _FACTOR * noise)
    found = []
    for name in steady:
        if name not in fixed:
            continue
        amount = _distance(base[name], fixed[name]) / scale
        # From None to a value, or to zero, is a difference however small.
        if _state(base[name]) != _state(fixed[name]):
            amount = math.inf
        if amount > limit:
            found.append(_Difference(name, _step(key)[0], base[name], fixed[name], amount))
    return sorted(found, key=lambda each: (-each.amount, each.name)), noise


def _listed(differences: Iterable[_Difference]) -> Iterator[str]:
    """Yield in words how parameters differ in the earliest step in which one does: what follows is its consequence."""
    ordered = sorted(differences, key=lambda each: (each.step, -each.amount, each.name))
    first = [each for each in ordered if each.step == ordered[0].step]
    shown = first[:_SHOWN]
    others = len(ordered) - len(shown)
    for each in shown:
        step = f" (step {each.step + 1})" if each.step else ""
        more = f"; and {counted(others, 'other parameter')}" if others and each is shown[-1] else ""
        yield f"{each}{step}{more}"


def _norm(values: Iterable[Any]) -> float:
    return math.sqrt(sum(value[0] ** 2 for value in values if value is not None and math.isfinite(value[0])))


def _state(value: Any) -> str:
    if value is None:
        return "None"
    return "value" if value[0] else "zero"


def _distance(one: Any, other: Any) -> float:
    """Return the norm of the difference of two values, as far as their samples tell; infinite for unlike shapes."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    if one[1].shape != other[1].shape:
        return math.inf
    difference = float((one[1] - other[1]).nan_to_num().norm()) * math.sqrt(one[2])
    return difference if bool((one[1].isfinite() == other[1].isfinite()).all()) else math.inf


def _shown(value: Any) -> str:
    return "None" if value is None else f"{value[0]:.2g}" if value[0] else "zero"


# -- memory ------------------------------------------------------------------------------------------------


def _memory(found: Changes, base: Trial, again: Trial, fixed: Trial) -> None:
    """Compare the graphs that no backward used."""
    unused = min(base.unused, again.unused)
    if fixed.unused < unused:
        found.memory = True
        bytes_ = f", {size(base.unused_bytes)}" if base.unused_bytes else ""
        left = f" ({size(fixed.unused_bytes)})" if fixed.unused_bytes else ""
        graphs = f"{counted(base.unused, 'forward')} built a graph that no backward used{bytes_}"
        found.figures.append(f"{graphs}, with the fix {fixed.unused}{left}")
    elif fixed.peak_graphs < min(base.peak_graphs, again.peak_graphs):
        found.memory = True
        bytes_ = f", {size(base.peak_bytes)}," if base.peak_bytes else ""
        left = f", {size(fixed.peak_bytes)}" if fixed.peak_bytes else ""
        graphs = f"{counted(base.peak_graphs, 'graph')}{bytes_} that no backward used were alive at once"
        found.figures.append(f"{graphs}, with the fix {fixed.peak_graphs}{left}")
