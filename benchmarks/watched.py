"""What gradlint's runtime half says about one program: its observations, and the assert for frozen modules."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from cases import Case, frozen

from gradlint.finding import Certainty
from gradlint.runtime.asserts import assert_frozen
from gradlint.runtime.observations import observe
from gradlint.runtime.recorder import record

LEVEL = 3


@dataclass(frozen=True)
class Observed:
    """One observation: where in which file, under which code, how sure, and what it says."""

    path: str
    line: int
    code: str
    certainty: str
    text: str

    @property
    def shown(self) -> bool:
        """Whether it is reported by default."""
        return self.certainty != Certainty.POSSIBLE.value


@dataclass(frozen=True)
class Watched:
    """What was seen of one program. ``ended`` is the error that ended it, ``unfrozen`` what `assert_frozen` says."""

    observations: tuple[Observed, ...]
    ended: str
    unfrozen: str

    def at(self, case: Case, *, possible: bool) -> list[Observed]:
        """Return the observations at the guilty line; those that are merely ``possible`` only if asked for."""
        found = self.seen(possible=possible)
        return [each for each in found if Path(each.path).resolve() == case.path and each.line in case.guilty]

    def seen(self, *, possible: bool) -> list[Observed]:
        """Return the observations, with or without those that are merely ``possible``."""
        return [each for each in self.observations if possible or each.shown]


def watch(case: Case, level: int = LEVEL) -> Watched:
    """Run the program, from making the model on, under a recording, and once more under the assert."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about what the bugs do
        observations, ended = _observations(case.load(), level)
        unfrozen = _unfrozen(case.load()) if frozen(case.load()) else ""
    return Watched(observations, ended, unfrozen)


def _observations(module: ModuleType, level: int) -> tuple[tuple[Observed, ...], str]:
    ended = ""
    try:
        with record(level) as recording:
            module.run(module.make())
    except RuntimeError as error:
        ended = str(error)
    finally:
        torch.set_grad_enabled(True)
    found = [each.finding for each in observe(recording, frozen=frozen(module), possible=True)]
    return tuple(
        Observed(each.path, each.location.line, each.code, each.certainty.value, each.message) for each in found
    ), ended


def _unfrozen(module: ModuleType) -> str:
    model = module.make()
    modules = {name: model.get_submodule(name) for name in frozen(module)}
    try:
        assert_frozen(modules, lambda: module.run(model))
    except AssertionError as error:
        return str(error)
    return ""
