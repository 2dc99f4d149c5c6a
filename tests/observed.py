"""Runs random programs on torch and compares the grad modes seen at their probes with the revealed ones.

A program is run many times, deciding by chance, from several entries: called by nobody that the text knows, where
``INHERITED`` stands for the mode at entry, and called by a function of the text.

``python tests/observed.py --seeds 0 5000`` is the long run; ``--show 17`` prints one program with both answers.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from programs import CALLERS, with_caller, write

from gradlint.project.reveal import reveal

ENOUGH = 30
"""A probe counts as observed when so many runs came by."""
RUNS = 160
"""Runs per program and entry."""
PATIENCE = 12
"""How many times longer to run a program that does not show all that is revealed."""
MOST_CHOICES = 120
"""After so many choices a run gets tired: every condition is false and nothing raises any more."""

# -- what torch does -----------------------------------------------------------------------------------------

Observed = dict[int, Counter[str]]


class Choices:
    """Decides for a program: called, it is a condition; it also makes errors and counts. Any of these may raise.

    A run that for the first time goes from one probe to another in some mode is remembered, and later runs begin like
    it, for chance alone takes too long to get to what lies behind many decisions.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made: list[int] = []
        self.script: list[int] = []
        self.memory: list[list[int]] = []
        self.steps: set[tuple[int, int, str]] = set()
        self.last = 0
        self.calm = 3
        self.seen: Observed = defaultdict(Counter)

    def begin(self) -> None:
        """Start another run."""
        self.made = []
        self.last = 0
        self.calm = self.random.choice([3, 10, 40])
        self.script = self.random.choice(self.memory) if self.memory and self.random.random() < 0.7 else []
        self.script = self.script[: self.random.randint(0, len(self.script))]

    def choose(self, options: int, chance: Callable[[], int] | None = None) -> int:
        """The next choice, below ``options``."""
        position = len(self.made)
        if position > MOST_CHOICES:
            return 0
        if position < len(self.script):
            choice = self.script[position]
        else:
            choice = chance() if chance is not None else self.random.randrange(options)
        self.made.append(choice)
        return choice

    def may_raise(self) -> None:
        """Raise an error, sometimes."""
        kind = self.choose(4, lambda: 0 if self.random.randrange(self.calm) else self.random.randint(1, 3))
        if kind:
            raise ERRORS[kind - 1]

    def __call__(self) -> bool:
        self.may_raise()
        return bool(self.choose(2))

    def error(self) -> Exception:
        """An error of some kind."""
        self.may_raise()
        return ERRORS[self.choose(3)]()

    def count(self) -> int:
        """A small number."""
        self.may_raise()
        return self.choose(3)

    def probe(self) -> None:
        """Note the mode in force at the caller's line."""
        line = sys._getframe(1).f_lineno
        mode = current()
        step = (self.last, line, mode)
        if step not in self.steps and len(self.made) <= MOST_CHOICES:
            self.steps.add(step)
            self.memory.append(self.made[:])
        self.last = line
        self.seen[line][mode] += 1


ERRORS: tuple[type[Exception], ...] = (ValueError, RuntimeError, KeyError)


def current() -> str:
    """The grad mode that torch is in."""
    if torch.is_inference_mode_enabled():
        return "INFERENCE"
    return "ON" if torch.is_grad_enabled() else "OFF"


@contextmanager
def entering(mode: str) -> Iterator[None]:
    """Run in grad mode ``mode``, whatever is done to it inside."""
    with torch.inference_mode(mode == "INFERENCE"), torch.set_grad_enabled(mode == "ON"):
        yield


# -- comparing -----------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What the comparison of one probe shows."""

    seed: int
    entry: str
    line: int
    said: frozenset[str]
    seen: Counter[str]

    @property
    def unsound(self) -> bool:
        """Torch was in a mode that was not revealed."""
        return not set(self.seen) <= self.said

    @property
    def observed(self) -> bool:
        """The probe was passed often enough to tell what it can show."""
        return self.seen.total() >= ENOUGH

    @property
    def exact(self) -> bool:
        """The modes revealed are those seen."""
        return set(self.seen) == self.said


@dataclass
class Tally:
    """The numbers over many programs."""

    programs: int = 0
    probes: int = 0
    observed: int = 0
    exact: int = 0
    unsound: list[Verdict] = field(default_factory=list)
    imprecise: list[Verdict] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of observed probes at which the analysis is exact."""
        return self.exact / max(self.observed, 1)

    def count(self, verdict: Verdict) -> None:
        """Take in one more probe."""
        self.probes += 1
        if verdict.unsound:
            self.unsound.append(verdict)
        if verdict.observed:
            self.observed += 1
            self.exact += verdict.exact
            if not verdict.exact:
                self.imprecise.append(verdict)


@dataclass(frozen=True)
class Entry:
    """One way to run a program: the text of the module, what to call, and in which mode."""

    name: str
    text: str
    function: str
    mode: str


def entries(seed: int) -> list[Entry]:
    """The ways to run program ``seed``."""
    text = write(seed)
    alone = [Entry(mode, text, "program", mode) for mode in ("ON", "OFF")]
    return alone + [Entry(f"called in {mode}", with_caller(text, mode), "caller", "ON") for mode in CALLERS]


def observe(entry: Entry, seed: int, runs: int) -> Observed:
    """Run a program ``runs`` times: how often each probe saw each mode."""
    names: dict[str, Any] = {}
    exec(compile(entry.text, "<program>", "exec"), names)
    choices = Choices(seed)
    for _ in range(runs):
        choices.begin()
        with entering(entry.mode):
            try:
                names[entry.function](choices, choices.may_raise, choices.probe)
            except ERRORS:
                continue
    return choices.seen


def revealed(text: str) -> dict[int, frozenset[str]]:
    """The modes that the analysis gives, by line."""
    return {line: frozenset(modes) for line, modes in reveal(text)}


@cache
def observations(seed: int, runs: int) -> list[Observed]:
    """What torch shows in each entry; longer runs where something that is revealed has not shown."""
    found = []
    for entry in entries(seed):
        seen = observe(entry, seed, runs)
        said = revealed(entry.text)
        if any(len(seen[line]) != len(modes) and seen[line].total() >= ENOUGH for line, modes in said.items()):
            seen = observe(entry, seed, runs * PATIENCE)
        found.append(seen)
    return found


def check(seed: int, runs: int = RUNS) -> Iterator[Verdict]:
    """Compare torch and the analysis at every probe of program ``seed``, from every entry."""
    for entry, seen in zip(entries(seed), observations(seed, runs), strict=True):
        yield from verdicts(revealed(entry.text), seen, seed, entry)


def verdicts(said: dict[int, frozenset[str]], seen: Observed, seed: int, entry: Entry) -> Iterator[Verdict]:
    """Compare what is revealed with what was seen, at every probe."""
    for line in sorted(said.keys() | seen.keys()):
        modes = said.get(line, frozenset())
        if "INHERITED" in modes:
            modes = modes - {"INHERITED"} | {entry.mode}
        yield Verdict(seed, entry.name, line, modes, seen[line])


def tally(seeds: range, runs: int = RUNS) -> Tally:
    """Check the programs of all ``seeds``."""
    found = Tally()
    for seed in seeds:
        found.programs += 1
        for verdict in check(seed, runs):
            found.count(verdict)
    return found


def show(seed: int, runs: int) -> None:
    """Print a program with what is revealed and what was seen beside every probe that differs."""
    notes: dict[int, list[str]] = defaultdict(list)
    for verdict in check(seed, runs):
        if verdict.unsound or (verdict.observed and not verdict.exact):
            word = "UNSOUND" if verdict.unsound else "imprecise"
            notes[verdict.line].append(f"{word} {verdict.entry}: says {sorted(verdict.said)}, saw {dict(verdict.seen)}")
    for number, line in enumerate(write(seed).splitlines(), 1):
        print(f"{number:3} {line}" + (f"    # {'; '.join(notes[number])}" if notes[number] else ""))


def main() -> None:
    """The long run, from the command line."""
    parser = argparse.ArgumentParser(description="Compare the analysis with torch on random programs.")
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 300), metavar=("FROM", "TO"))
    parser.add_argument("--runs", type=int, default=RUNS, help="runs per program and entry")
    parser.add_argument("--show", type=int, metavar="SEED", help="print one program and where the two differ")
    options = parser.parse_args()
    if options.show is not None:
        show(options.show, options.runs)
        return
    found = tally(range(*options.seeds), options.runs)
    print(f"{found.programs} programs, {found.probes} probes, {found.observed} observed, {found.share:.4%} exact")
    for word, verdicts in (("unsound", found.unsound), ("imprecise", found.imprecise)):
        seeds = Counter(verdict.seed for verdict in verdicts)
        print(f"{len(verdicts)} {word}; programs: {' '.join(map(str, list(seeds)[:40]))}")


if __name__ == "__main__":
    main()
