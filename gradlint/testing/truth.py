"""Running what fixtures and pages claim about torch.

A function of a fixture carries a comment right above it (decorators below the comment):

- ``# runtime: raises RuntimeError "does not require grad"``: the call raises this, the words are optional;
- ``# runtime: shows EXPRESSION``: true after the call, in terms of the arguments, ``result`` and ``torch``;
- ``# runtime: ok``: the call raises nothing;
- ``# runtime: not run -- REASON``: it cannot be called on a CPU within a second.

The block under *Runtime check* of a page starts with ``# raises: TYPE "words"``, ``# shows: EXPRESSION`` or
``# warns: TYPE "words"``. It runs behind the first example, where the claim must hold, and behind the first block
of *Use instead*, where it must not.

Every run has a module of its own and a thread of its own: gradient mode, inference mode and autocast belong to
the thread, so that nothing a run leaves behind reaches the next. Only this module imports torch, inside functions.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from gradlint.testing.arguments import arguments_for
from gradlint.testing.expectations import comments
from gradlint.testing.fixtures import first_line, functions
from gradlint.testing.pages import EXAMPLES, INSTEAD, RUNTIME, Page

SECONDS = 60.0
"""How long one run may take."""

_TYPED = re.compile(r'(?P<type>[A-Za-z_.]+)(?:\s+"(?P<words>.*)")?')
_HEADER = re.compile(r"#\s*(?P<kind>raises|shows|warns):\s*(?P<rest>.+)")
_COMMENT = re.compile(r"#\s*runtime\s*:\s*(?P<rest>.*)")


class ClaimError(ValueError):
    """A claim about torch that is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What torch does.

    ``kind`` is ``raises`` or ``warns`` (then ``subject`` is a type and ``words`` are part of its text), ``shows``
    (an expression), ``ok``, or ``not run`` (a reason).
    """

    kind: str
    subject: str = ""
    words: str = ""

    def __str__(self) -> str:
        """Write it nearly as the comment does."""
        return " ".join([self.kind, self.subject, f'"{self.words}"' if self.words else ""]).strip()


@dataclass(slots=True)
class Outcome:
    """What happened in one run: the exception that left it, the warnings, and the truth of the claim's expression."""

    raised: BaseException | None = None
    warned: list[warnings.WarningMessage] = field(default_factory=list)
    shown: bool | None = None
    finished: bool = False

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
            return self.finished and self.raised is not None and _fits(claim, type(self.raised), str(self.raised))
        if not self.finished or self.raised is not None:
            return False
        if claim.kind == "warns":
            return any(_fits(claim, warned.category, str(warned.message)) for warned in self.warned)
        return self.shown is True if claim.kind == "shows" else True


def _fits(claim: Claim, kind: type[BaseException], words: str) -> bool:
    return claim.subject in {base.__name__ for base in kind.__mro__} and claim.words in words


def parse_claims(text: str) -> dict[str, Claim]:
    """Return the claims of a fixture by function name.

    Every function at module level that is called ``..._bad`` or ``..._ok`` has exactly one. Raises `ClaimError`
    when one is missing, unreadable, or stands above nothing.
    """
    by_line = {line: found["rest"] for line, _, text_ in comments(text) if (found := _COMMENT.match(text_))}
    claims: dict[str, Claim] = {}
    for function in functions(text):
        line = first_line(function) - 1
        if function.col_offset or line not in by_line:
            continue
        if function.name in claims:
            raise ClaimError(f"line {function.lineno}: there are two functions called `{function.name}`")
        claims[function.name] = parse_claim(by_line.pop(line), f"line {line}")
    if by_line:
        raise ClaimError(f"line {min(by_line)}: this comment stands above no function that is called bad or ok")
    bare = [node for node in functions(text) if not node.col_offset and node.name not in claims]
    if bare:
        raise ClaimError(f"line {bare[0].lineno}: no `# runtime:` comment right above `{bare[0].name}`")
    return claims


def parse_claim(text: str, where: str) -> Claim:
    """Read what follows ``# runtime:``. Raises `ClaimError`, which names ``where``."""
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind == "ok" and not rest:
        return Claim("ok")
    if kind == "shows":
        return Claim("shows", _expression(rest, where))
    if kind in ("raises", "warns") and (typed := _TYPED.fullmatch(rest)):
        return Claim(kind, typed["type"], typed["words"] or "")
    if kind == "not" and (reason := re.fullmatch(r"run -- (\S.*)", rest)):
        return Claim("not run", reason[1])
    raise ClaimError(f"{where}: {text!r} is no claim; see `gradlint.testing.truth`")


def _expression(text: str, where: str) -> str:
    try:
        compile(text, where, "eval")
    except SyntaxError as error:
        raise ClaimError(f"{where}: {text!r} is no expression: {error.msg}") from error
    return text


def check_claim(text: str, path: str, name: str, claim: Claim) -> str | None:
    """Call the function ``name`` of the fixture ``text`` with arguments of its own; return None if ``claim`` holds.

    A coroutine is run to its end, and ``result`` is what it returns. Otherwise the answer says what happened.
    """

    def run(outcome: Outcome) -> None:
        with _module(text, path) as module:
            function: Callable[..., Any] = getattr(module, name)
            arguments = arguments_for(function)
            result = function(**arguments)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
            if claim.kind == "shows":
                import torch

                names = {**vars(module), "torch": torch, **arguments, "result": result}
                outcome.shown = bool(eval(claim.subject, names))

    if claim.kind == "not run":
        return None
    outcome = observe(run)
    return None if outcome.holds(claim) else f"`{name}` was to {claim}, but: {outcome}"


def check_page_claim(page: Page, code: str) -> list[str]:
    """Run the *Runtime check* of ``page`` behind its first bad and its first good block; say what does not hold.

    Raises `ClaimError` when there is no such check, or it has no readable first line.
    """
    if not page.python(RUNTIME):
        raise ClaimError(f"`## {RUNTIME}` has no python block")
    check = page.python(RUNTIME)[0]
    header = _HEADER.match(check.code)
    if header is None:
        raise ClaimError(f"line {check.line}: the first line is none of `# raises:`, `# shows:`, `# warns:`")
    claim = parse_claim(f"{header['kind']} {header['rest']}", f"line {check.line}")
    problems = []
    bad = _run_block(page.python(EXAMPLES)[0].code + check.code, f"<{code} example>", claim)
    if not bad.holds(claim):
        problems.append(f"the example was to {claim}, but: {bad}")
    good = _run_block(page.python(INSTEAD)[0].code + check.code, f"<{code} use instead>", claim)
    if good.raised is not None or not good.finished or (claim.kind != "raises" and good.holds(claim)):
        problems.append(f"the good code was not to {claim}, but: {good}")
    return problems


def _run_block(code: str, name: str, claim: Claim) -> Outcome:
    def run(outcome: Outcome) -> None:
        import contextlib
        import copy

        import torch
        from torch import nn
        from torch.nn import functional

        names = {"torch": torch, "nn": nn, "F": functional, "copy": copy, "contextlib": contextlib}
        with _module(code, name, names) as module:
            if claim.kind == "shows":
                outcome.shown = bool(eval(claim.subject, vars(module)))

    return observe(run)


def observe(run: Callable[[Outcome], None]) -> Outcome:
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
    import torch

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
    try:
        exec(compile(text, path, "exec", dont_inherit=True), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]
