"""Running what fixtures and pages claim about torch; `gradlint.testing.torch_claims` says how claims are written.

Every run has a module of its own and a thread of its own: gradient mode, inference mode, autocast and the default
device belong to the thread, so that nothing a run leaves behind reaches the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib
import inspect
import linecache
import runpy
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gradlint.runtime.arguments import arguments_for
from gradlint.runtime.devices import CPU
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.testing.pages import EXAMPLES, INSTEAD, Page
from gradlint.testing.torch_claims import SCRIPT, Claim, page_claim

SECONDS = 60.0
"""How long one run may take."""


@dataclass(slots=True)
class Outcome:
    """What happened in one run: the exception that left it, the warnings, and the truth of the claim's expression.

    ``recording`` is what was recorded of it, if that was asked for.
    """

    raised: BaseException | None = None
    warned: list[warnings.WarningMessage] = field(default_factory=list)
    shown: bool | None = None
    finished: bool = False
    recording: Recording | None = None

    def __str__(self) -> str:
        """Say it in words."""
        if not self.finished:
            return f"did not finish within {SECONDS:.0f} s"
        if self.raised is not None:
            return f"raised {type(self.raised).__name__}: {self.raised}"
        return "raised nothing" if self.shown is None else f"the expression is {self.shown}"

    def holds(self, claim: Claim) -> bool:
        """Tell whether ``claim`` is what happened."""
        if claim.kind == "raises":
            return self.finished and self.raised is not None and claim.fits(type(self.raised), str(self.raised))
        if not self.finished or self.raised is not None:
            return False
        if claim.kind == "warns":
            return any(claim.fits(warned.category, str(warned.message)) for warned in self.warned)
        return self.shown is True if claim.kind == "shows" else True

    def clears(self, claim: Claim) -> bool:
        """Tell whether the run ended well and ``claim`` is *not* what happened, as good code must."""
        return self.finished and self.raised is None and (claim.kind == "raises" or not self.holds(claim))


@dataclass(frozen=True, slots=True)
class Contrast:
    """The claim of a page, and what came of it behind the bad and behind the good example."""

    claim: Claim
    bad: Outcome
    good: Outcome

    @property
    def holds(self) -> bool:
        """Whether the bad example does what the page says and the good one does not."""
        return self.bad.holds(self.claim) and self.good.clears(self.claim)

    def problems(self) -> list[str]:
        """Say what does not hold."""
        found = []
        if not self.bad.holds(self.claim):
            found.append(f"the example was to {self.claim}, but: {self.bad}")
        if not self.good.clears(self.claim):
            found.append(f"the good code was not to {self.claim}, but: {self.good}")
        return found


def check_claim(text: str, path: str, name: str, claim: Claim) -> str | None:
    """Call the function ``name`` of the fixture ``text`` with arguments of its own; return None if ``claim`` holds.

    A coroutine is run to its end, and ``result`` is what it returns. Otherwise the answer says what happened.
    """

    def run(outcome: Outcome) -> None:
        with _module(text, path) as module:
            _call(vars(module), name, claim, outcome)

    return _answer(name, claim, run)


def check_project_claim(root: Path, path: Path, name: str, claim: Claim) -> str | None:
    """As `check_claim`, for the file ``path`` of the project ``root``, which may import its other files.

    They are found as Python and its test runners would: from the folder above the file's package, from ``root``, and
    from a folder ``src`` in it. `SCRIPT` in place of a function's name runs the file itself.
    """
    package = path.parent
    while package != root and (package / "__init__.py").exists():
        package = package.parent
    module = ".".join(path.relative_to(package).with_suffix("").parts)

    def run(outcome: Outcome) -> None:
        with _importable([package, root, root / "src"]):
            if name != SCRIPT:
                _call(vars(importlib.import_module(module)), name, claim, outcome)
                return
            names = runpy.run_module(module, run_name=SCRIPT)
            if claim.kind == "shows":
                outcome.shown = bool(eval(claim.subject, {**names, "torch": torch}))

    return _answer(f"{path.relative_to(root).as_posix()}:{name}", claim, run)


def _answer(name: str, claim: Claim, run: Callable[[Outcome], None]) -> str | None:
    if claim.kind == "not run":
        return None
    outcome = run_apart(run)
    return None if outcome.holds(claim) else f"`{name}` was to {claim}, but: {outcome}"


def _call(module: dict[str, Any], name: str, claim: Claim, outcome: Outcome) -> None:
    """Call a function of ``module``, and find out whether the expression of its claim is true."""
    function: Callable[..., Any] = module[name]
    arguments = arguments_for(function)
    result = function(**arguments)
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    if claim.kind == "shows":
        outcome.shown = bool(eval(claim.subject, {**module, "torch": torch, **arguments, "result": result}))


def contrast(page: Page, code: str, device: str = CPU, level: int | None = None) -> Contrast:
    """Run the *Runtime check* of the rule ``code``'s ``page`` behind its first bad and its first good block.

    Tensors and modules that the code makes lie on ``device``. With a ``level`` both runs are recorded at it.
    Raises `ClaimError` when there is no such check, or it has no readable first line.
    """
    claim, _ = page_claim(page)
    bad, good = (_run_example(example, claim, device, level) for example in examples(page, code))
    return Contrast(claim, bad, good)


@dataclass(frozen=True, slots=True)
class Example:
    """A block of a page with the page's check behind it, and what it is called in place of a path."""

    path: str
    source: str


def examples(page: Page, code: str) -> tuple[Example, Example]:
    """Return the bad and the good example of the rule ``code``'s ``page``. Raises `ClaimError` like `contrast`."""
    _, check = page_claim(page)
    bad, good = page.python(EXAMPLES)[0].code, page.python(INSTEAD)[0].code
    return Example(f"<{code} example>", bad + check), Example(f"<{code} use instead>", good + check)


def _run_example(example: Example, claim: Claim, device: str, level: int | None) -> Outcome:
    names: dict[str, object] = {"torch": torch, "nn": nn, "F": functional, "copy": copy, "contextlib": contextlib}
    place: AbstractContextManager[object] = nullcontext() if device == CPU else torch.device(device)

    def run(outcome: Outcome) -> None:
        with place, _recorded(outcome, level), _module(example.source, example.path, names) as module:
            if claim.kind == "shows":
                outcome.shown = bool(eval(claim.subject, vars(module)))

    return run_apart(run)


@contextmanager
def _recorded(outcome: Outcome, level: int | None) -> Iterator[None]:
    if level is None:
        yield
        return
    with record(level) as outcome.recording:
        yield


def run_apart(run: Callable[[Outcome], None]) -> Outcome:
    """Call ``run`` in a thread of its own, with torch seeded and every warning recorded; return what happened."""
    outcome = Outcome()

    def body() -> None:
        with warnings.catch_warnings(record=True) as caught, _torch_settings():
            warnings.simplefilter("always")
            try:
                run(outcome)
            except BaseException as error:  # whatever it is, it is the observation
                outcome.raised = error
        outcome.warned = list(caught)
        outcome.finished = True

    thread = threading.Thread(target=body, name="truth", daemon=True)
    thread.start()
    thread.join(SECONDS)
    return outcome


@contextmanager
def _torch_settings() -> Iterator[None]:
    """Seed torch, let it repeat its warnings, and put back the settings that are not the thread's own."""
    always, dtype = torch.is_warn_always_enabled(), torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_warn_always(True)
    torch.set_grad_enabled(True)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)
        torch.set_warn_always(always)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(False)


@contextmanager
def _module(text: str, path: str, names: dict[str, object] | None = None) -> Iterator[ModuleType]:
    """Execute ``text`` as a module; it can be found in `sys.modules`, as dataclasses and pickle want, while it runs."""
    module = ModuleType("gradlint_truth_run")
    module.__file__ = path
    vars(module).update(names or {})
    sys.modules[module.__name__] = module
    if path.startswith("<"):  # it lies in no file, but tracebacks show its lines, and columns are counted with them
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    try:
        exec(compile(text, path, "exec", dont_inherit=True), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@contextmanager
def _importable(folders: list[Path]) -> Iterator[None]:
    """Let modules be imported from ``folders`` first; those of that name are forgotten before and afterwards."""
    search, writes = sys.path, sys.dont_write_bytecode
    own = {entry.stem for folder in folders if folder.is_dir() for entry in folder.iterdir()}
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
    for name in hidden:
        del sys.modules[name]
    sys.path = [*dict.fromkeys(map(str, folders)), *search]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path, sys.dont_write_bytecode = search, writes
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]
        sys.modules.update(hidden)
