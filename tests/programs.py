"""Random programs that switch the grad mode in every way, run on torch and compared with what the analysis says.

``write(seed)`` writes the text of a module with one function ``program(c, maybe_raise, reveal_grad_mode)``. It
is run many times, deciding by chance; every probe notes the mode that torch reports. `check` compares the modes
seen at each probe with the revealed ones, from several entries: called by nobody that the text knows (where
``INHERITED`` stands for the mode at entry) and called by a function of the text.

``python tests/programs.py --seeds 0 5000`` is the long run; ``--show 17`` prints one program with both answers.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from gradlint.project.reveal import reveal

ENOUGH = 30
"""A probe counts as observed when so many runs came by."""
RUNS = 160
"""Runs per program and entry."""
MOST_CHOICES = 120
"""After so many choices a run gets tired: every condition is false and nothing raises any more."""

MODES = ("ON", "OFF", "INFERENCE")
CALLERS = {
    "OFF": "with torch.no_grad():",
    "INFERENCE": "with torch.inference_mode():",
}

HEADERS = (
    "import contextlib\nimport torch\n",
    "import contextlib\nimport torch\nfrom torch import no_grad as ng, inference_mode as im\n",
    "import contextlib\nimport torch\n\nng = torch.no_grad\nim = torch.inference_mode\n",
    "import contextlib\nimport torch as th, torch\nfrom torch.autograd import no_grad as ng\n\nim = th.inference_mode\n",
)
CONTEXTS = (
    "torch.no_grad()",
    "torch.no_grad()",
    "torch.enable_grad()",
    "torch.inference_mode()",
    "torch.inference_mode(False)",
    "torch.inference_mode(mode=True)",
    "torch.inference_mode(c())",
    "torch.set_grad_enabled(False)",
    "torch.set_grad_enabled(True)",
    "torch.set_grad_enabled(mode=False)",
    "torch.set_grad_enabled(c())",
    "torch.autograd.no_grad()",
    "contextlib.nullcontext()",
    "torch.no_grad() if c() else contextlib.nullcontext()",
    "torch.enable_grad() if c() else torch.no_grad()",
)
DECORATORS = (
    "@torch.no_grad()",
    "@torch.no_grad",
    "@torch.enable_grad()",
    "@torch.inference_mode()",
    "@torch.inference_mode",
    "@torch.inference_mode(False)",
    "@torch.set_grad_enabled(False)",
    "@torch.set_grad_enabled(True)",
)
SWITCHES = (
    "torch.set_grad_enabled(False)",
    "torch.set_grad_enabled(True)",
    "torch.set_grad_enabled(c())",
    "torch._C._set_grad_enabled(False)",
)
MANAGERS = (
    "with torch.no_grad():\n    yield",
    "with torch.enable_grad():\n    reveal_grad_mode()\n    yield 1\n    reveal_grad_mode()",
    "yield",
    "before = torch.is_grad_enabled()\ntorch.set_grad_enabled(False)\ntry:\n    yield\nfinally:\n"
    "    torch.set_grad_enabled(before)\n    reveal_grad_mode()",
    "if c():\n    with torch.inference_mode():\n        yield\nelse:\n    yield\nreveal_grad_mode()",
    "with torch.set_grad_enabled(c()):\n    maybe_raise()\n    yield",
)


@dataclass
class Scope:
    """What a statement may use where it stands."""

    indent: int
    depth: int
    in_loop: bool = False
    in_function: bool = False
    stack: str = ""
    """The `ExitStack` of the innermost ``with``, if it is one."""

    def inner(self, **changes: Any) -> Scope:
        """One level further in."""
        fields = {"in_loop": self.in_loop, "in_function": self.in_function, "stack": self.stack, **changes}
        return Scope(self.indent + 1, self.depth - 1, **fields)


class Writer:
    """Writes one random program; equal seeds write equal programs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.budget = self.random.randint(5, 16)
        self.names = 0
        self.header = self.random.choice(HEADERS)
        self.contexts = list(CONTEXTS)
        if "ng" in self.header:
            self.contexts += ["ng()", "im()"] * 2
        self.callables: list[str] = []
        self.managers: list[str] = []
        self.objects: list[str] = []
        self.lines: list[str] = []

    def write(self) -> str:
        """The text of the module."""
        self.add(0, "def program(c, maybe_raise, reveal_grad_mode):")
        self.suite(Scope(1, 5))
        return f"{self.header}\n\n" + "\n".join(self.lines) + "\n"

    def add(self, indent: int, text: str) -> None:
        self.lines += ["    " * indent + line for line in text.split("\n")]

    def probe(self, scope: Scope) -> None:
        self.add(scope.indent, "reveal_grad_mode()")

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def suite(self, scope: Scope, least: int = 1) -> None:
        """Some statements, with a probe behind; what they define is forgotten afterwards."""
        known = len(self.callables), len(self.managers), len(self.objects)
        for _ in range(self.random.randint(least, 3)):
            self.statement(scope)
            if self.chance(0.4):
                self.probe(scope)
        self.probe(scope)
        del self.callables[known[0] :], self.managers[known[1] :], self.objects[known[2] :]

    def statement(self, scope: Scope) -> None:
        self.budget -= 1
        kinds = ["simple"] * 3 + ["jump"]
        if self.callables:
            kinds += ["call"] * 4
        if scope.stack:
            kinds += ["push"] * 4
        if scope.depth > 0 and self.budget > 0:
            kinds += ["with"] * 7 + ["attempt"] * 4 + ["branch"] * 3 + ["loop"] * 3
            kinds += ["function"] * 4 + ["stack", "suppress", "stored", "manager", "klass"]
        getattr(self, f"write_{self.random.choice(kinds)}")(scope)

    # -- one line ------------------------------------------------------------------------------------------

    def write_simple(self, scope: Scope) -> None:
        self.add(scope.indent, self.random.choice([*SWITCHES, "maybe_raise()", "maybe_raise()", "x = c()"]))

    def write_jump(self, scope: Scope) -> None:
        jumps = ["return", "raise c.error()", "raise c.error()"]
        if scope.in_loop:
            jumps += ["break", "continue"] * 2
        self.add(scope.indent, f"if {self.test()}:")
        if self.chance(0.5):
            self.statement(Scope(scope.indent + 1, 0, scope.in_loop, scope.in_function, scope.stack))
        self.add(scope.indent + 1, self.random.choice(jumps))

    def write_call(self, scope: Scope) -> None:
        self.add(scope.indent, f"{self.random.choice(self.callables)}()")

    def write_push(self, scope: Scope) -> None:
        self.add(scope.indent, f"{scope.stack}.enter_context({self.context()})")

    def test(self) -> str:
        return self.random.choice(["c()", "not c()", "c() and c()", "c() or c()"])

    def context(self) -> str:
        if self.managers and self.chance(0.3):
            return f"{self.random.choice(self.managers)}()"
        return self.random.choice(self.contexts)

    # -- contexts ------------------------------------------------------------------------------------------

    def write_with(self, scope: Scope) -> None:
        items = ", ".join(self.context() for _ in range(self.random.choice([1, 1, 1, 2])))
        self.add(scope.indent, f"with {items}:")
        self.suite(scope.inner(stack=""))

    def write_stored(self, scope: Scope) -> None:
        name = self.name("ctx")
        self.add(scope.indent, f"{name} = {self.random.choice(self.contexts)}")
        if self.chance(0.5):
            self.probe(scope)
        for _ in range(self.random.randint(1, 2)):
            self.add(scope.indent, f"with {name}:")
            self.suite(scope.inner(stack=""))
            self.probe(scope)

    def write_stack(self, scope: Scope) -> None:
        name = self.name("stack")
        self.add(scope.indent, f"with contextlib.ExitStack() as {name}:")
        self.suite(scope.inner(stack=name), 2)

    def write_suppress(self, scope: Scope) -> None:
        kind = self.random.choice(["Exception", "ValueError", "ValueError, RuntimeError"])
        self.add(scope.indent, f"with contextlib.suppress({kind}):")
        self.suite(scope.inner(stack=""))

    def write_manager(self, scope: Scope) -> None:
        name = self.name("manager")
        self.add(scope.indent, f"@contextlib.contextmanager\ndef {name}():")
        self.add(scope.indent + 1, self.random.choice(MANAGERS))
        self.managers.append(name)

    # -- control flow --------------------------------------------------------------------------------------

    def write_branch(self, scope: Scope) -> None:
        self.add(scope.indent, f"if {self.test()}:")
        self.suite(scope.inner())
        if self.chance(0.3):
            self.add(scope.indent, f"elif {self.test()}:")
            self.suite(scope.inner())
        if self.chance(0.5):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())

    def write_loop(self, scope: Scope) -> None:
        head = self.random.choice(["for i in range(c.count()):", "while c():", "while True:"])
        self.add(scope.indent, head)
        if head == "while True:":
            self.add(scope.indent + 1, "if not c():\n    break")
        self.suite(scope.inner(in_loop=True))
        if head != "while True:" and self.chance(0.4):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())

    def write_attempt(self, scope: Scope) -> None:
        final = self.chance(0.5)
        kinds = ["ValueError", "(RuntimeError, ValueError)", "RuntimeError as error", "Exception", ""]
        handlers = sorted(self.random.sample(kinds, self.random.randint(0 if final else 1, 2)), key=kinds.index)
        self.add(scope.indent, "try:")
        self.suite(scope.inner())
        for kind in handlers:
            self.add(scope.indent, f"except {kind}:" if kind else "except:")
            self.suite(scope.inner())
            if self.chance(0.3):
                self.add(scope.indent + 1, "raise")
        if handlers and self.chance(0.3):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())
        if final:
            self.add(scope.indent, "finally:")
            self.suite(scope.inner(in_loop=False))

    # -- definitions ---------------------------------------------------------------------------------------

    def write_function(self, scope: Scope) -> None:
        name = self.name("f")
        if self.chance(0.15):
            self.add(scope.indent, f"{name} = lambda: reveal_grad_mode()")
        else:
            for decorator in self.random.sample(DECORATORS, self.random.choice([0, 0, 1, 1, 2])):
                self.add(scope.indent, decorator)
            self.add(scope.indent, f"def {name}():")
            self.suite(scope.inner(in_loop=False, in_function=True, stack=""))
        if self.chance(0.15):
            decorated, name = name, self.name("f")
            self.add(scope.indent, f"{name} = {self.random.choice(DECORATORS)[1:]}({decorated})")
        self.callables.append(name)
        if self.chance(0.5):
            self.write_call(scope)

    def write_klass(self, scope: Scope) -> None:
        name = self.name("Class")
        self.add(scope.indent, f"class {name}:")
        methods: list[str] = []
        inner = scope.inner(in_loop=False, in_function=True, stack="")
        if self.chance(0.3):
            self.add(inner.indent, "def __init__(self):")
            self.suite(inner.inner())
        for _ in range(self.random.randint(1, 3)):
            method = self.name("method")
            kind = self.random.choice(["self", "self", "cls", ""])
            if kind != "self":
                self.add(inner.indent, "@classmethod" if kind else "@staticmethod")
            if self.chance(0.5):
                self.add(inner.indent, self.random.choice(DECORATORS))
            self.add(inner.indent, f"def {method}({kind}):")
            known = len(self.callables)
            if kind == "self":
                self.callables += [f"self.{other}" for other in methods] * 2
            self.suite(inner.inner())
            del self.callables[known:]
            methods.append(method)
        instance = self.name("object")
        self.add(scope.indent, f"{instance} = {name}()")
        self.callables += [f"{instance}.{method}" for method in methods]


def write(seed: int) -> str:
    """The text of program ``seed``."""
    return Writer(seed).write()


def with_caller(text: str, entry: str) -> str:
    """The module with a function ``caller`` that calls the program in mode ``entry``."""
    signature = "(c, maybe_raise, reveal_grad_mode)"
    return f"{text}\n\ndef caller{signature}:\n    {CALLERS[entry]}\n        program{signature}\n"


# -- what torch does -----------------------------------------------------------------------------------------

Observed = dict[int, Counter[str]]


class Choices:
    """Decides for a program: called, it is a condition; it also makes errors and counts. Any of these may raise.

    A run that shows a mode for the first time at a probe is remembered, and later runs begin like it, for chance
    alone takes too long to get to what lies behind many decisions.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made: list[int] = []
        self.script: list[int] = []
        self.memory: list[list[int]] = []
        self.calm = 3
        self.seen: Observed = defaultdict(Counter)

    def begin(self) -> None:
        """Start another run."""
        self.made = []
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
        seen = self.seen[line]
        if not seen[mode] and len(self.made) <= MOST_CHOICES:
            self.memory.append(self.made[:])
        seen[mode] += 1


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


def observe(text: str, function: str, entry: str, seed: int, runs: int) -> Observed:
    """Run ``function`` of the module ``runs`` times from grad mode ``entry``: how often each probe saw each mode."""
    names: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), names)
    choices = Choices(seed)
    for _ in range(runs):
        choices.begin()
        with entering(entry):
            try:
                names[function](choices, choices.may_raise, choices.probe)
            except ERRORS:
                continue
    return choices.seen


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


def revealed(text: str) -> dict[int, frozenset[str]]:
    """The modes that the analysis gives, by line."""
    return {line: frozenset(modes) for line, modes in reveal(text)}


def check(seed: int, runs: int = RUNS) -> Iterator[Verdict]:
    """Compare torch and the analysis at every probe of program ``seed``, from every entry."""
    text = write(seed)
    said = revealed(text)
    for entry in ("ON", "OFF"):
        seen = observe(text, "program", entry, seed, runs)
        for line in said.keys() | seen.keys():
            modes = said.get(line, frozenset())
            resolved = modes - {"INHERITED"} | ({entry} if "INHERITED" in modes else frozenset())
            yield Verdict(seed, entry, line, resolved, seen[line])
    for entry in CALLERS:
        called = with_caller(text, entry)
        seen = observe(called, "caller", "ON", seed, runs)
        said = revealed(called)
        for line in said.keys() | seen.keys():
            modes = said.get(line, frozenset())
            resolved = modes - {"INHERITED"} | ({"ON"} if "INHERITED" in modes else frozenset())
            yield Verdict(seed, f"called in {entry}", line, resolved, seen[line])


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
