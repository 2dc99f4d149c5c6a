"""``gradlint verify --rule``: what a rule's page claims about torch, run on every device there is."""

from __future__ import annotations

import linecache
import platform
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

import msgspec
import torch

from gradlint import check_source, registry
from gradlint.runtime import devices
from gradlint.runtime.claims import verify
from gradlint.runtime.truth import Contrast, Example, Outcome, contrast, examples
from gradlint.runtime.verdict import Verdict
from gradlint.testing.pages import RUNTIME, Page, parse_page

FORMS = ("full", "json")
"""How the result can be written."""

CONFIRMED, REFUTED, MISUSED = 0, 1, 2
"""Exit codes: every claim holds; some claim does not; there is no such rule, device or form."""

_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the recording of an example says about a finding of the rule in it."""

    line: int
    verdict: Verdict
    figures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one example: the exception and where it was raised, the warnings, the claim's expression.

    ``recorded`` has an entry for every finding of the rule in it.
    """

    raised: str | None
    line: int | None
    source: str | None
    warned: tuple[str, ...]
    shown: bool | None
    finished: bool
    recorded: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule's claim on one device: its bad and its good example, and whether both do as the page says."""

    device: str
    hardware: str
    verdict: Verdict
    bad: Ran
    good: Ran
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleChecked:
    """A rule's claim on all devices; ``claim`` is empty and ``devices`` too where it has none."""

    code: str
    name: str
    claim: str
    devices: tuple[Checked, ...]


def run(code: str, form: str, on: Sequence[str] | None, stream: TextIO) -> int:
    """Run the examples of the rules that ``code`` stands for (a code, a name, ``GRD1`` or ``ALL``), and report.

    ``form`` is one of `FORMS`. ``on`` names devices; None means all there are. Both examples of a page run under
    ``record(level=3)``. Returns the exit code; what is wrong with the arguments is said on standard error.
    """
    try:
        if form not in FORMS:
            raise ValueError(f"--rule has no {form} form: choose {' or '.join(FORMS)}")
        codes = sorted(registry.resolve(code))
        chosen = devices.chosen(on)
    except (registry.UnknownRule, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    found: list[RuleChecked] = []
    if form == "full":
        stream.write(f"torch {torch.__version__}, Python {platform.python_version()}\n")
    for each in codes:
        found.append(_check(each, chosen))
        if form == "full" and (found[-1].claim or len(codes) == 1):
            stream.writelines(f"{line}\n" for line in _full(found[-1]))
            stream.flush()
    if form == "json":
        stream.write(_json(found))
    else:
        stream.write(f"\n{_summary(found)}\n")
    return REFUTED if any(each.verdict is Verdict.REFUTED for rule in found for each in rule.devices) else CONFIRMED


def _check(code: str, chosen: Iterable[str]) -> RuleChecked:
    rule = registry.rule(code)
    page = parse_page(registry.page(rule))
    if not page.python(RUNTIME):
        return RuleChecked(rule.code, rule.name, "", ())
    results = [(device, contrast(page, code, device, _LEVEL)) for device in chosen]
    checked = tuple(_checked(code, device, result, page) for device, result in results)
    return RuleChecked(rule.code, rule.name, str(results[0][1].claim), checked)


def _checked(code: str, device: str, result: Contrast, page: Page) -> Checked:
    verdict = Verdict.CONFIRMED if result.holds else Verdict.REFUTED
    bad, good = (
        _ran(outcome, _recorded(code, example, outcome))
        for example, outcome in zip(examples(page, code), (result.bad, result.good), strict=True)
    )
    return Checked(device, devices.described(device), verdict, bad, good, tuple(result.problems()))


def _ran(outcome: Outcome, recorded: tuple[Recorded, ...]) -> Ran:
    raised = None if outcome.raised is None else _one_line(outcome.raised)
    line, source = _raised_at(outcome.raised)
    warned = dict.fromkeys(_one_line(each.message, each.category) for each in outcome.warned)
    return Ran(raised, line, source, tuple(warned), outcome.shown, outcome.finished, recorded)


def _recorded(code: str, example: Example, outcome: Outcome) -> tuple[Recorded, ...]:
    """Lint an example, and judge the rule's findings in it by what was recorded."""
    if outcome.recording is None or not outcome.finished:
        return ()
    findings = [finding for finding in check_source(example.source, example.path) if finding.code == code]
    verified = verify(findings, outcome.recording, lambda _: None)
    return tuple(Recorded(each.finding.location.line, each.verdict, each.figures) for each in verified)


def _one_line(error: BaseException | str, kind: type[BaseException] | None = None) -> str:
    text = str(error).strip().partition("\n")[0]
    name = (kind or type(error)).__name__
    return f"{name}: {text}" if text else name


def _raised_at(error: BaseException | None) -> tuple[int | None, str | None]:
    """Return the innermost line of the page that the exception came through, and its text."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    for frame in reversed(frames):
        if frame.filename.startswith("<GRD"):
            return frame.lineno, linecache.getline(frame.filename, frame.lineno or 0).partition("  #")[0].strip()
    return None, None


def _full(rule: RuleChecked) -> Iterator[str]:
    yield ""
    if not rule.claim:
        yield f"{rule.code} {rule.name} makes no claim about autograd: there is nothing to run"
        return
    yield f"{rule.code} {rule.name}: its example {_promise(rule.claim)}"
    for each in rule.devices:
        yield f"  {each.verdict.value} on {each.device} ({each.hardware})"
        yield from _lines("bad example", each.bad)
        yield from _lines("good example", each.good)


def _promise(claim: str) -> str:
    kind, _, rest = claim.partition(" ")
    return f"shows `{rest}`" if kind == "shows" else claim


def _lines(name: str, ran: Ran) -> Iterator[str]:
    if not ran.finished:
        yield f"    {name}: did not end in time"
        return
    if ran.raised is not None:
        yield f"    {name}: raised {ran.raised}"
        if ran.source:
            yield f"      at its line {ran.line}: {ran.source}"
    elif ran.shown is not None:
        yield f"    {name}: the expression is {ran.shown}"
    else:
        yield f"    {name}: raised nothing"
    for warned in ran.warned:
        yield f"      warned {warned}"
    for each in ran.recorded:
        yield f"      recorded for its line {each.line}: {each.verdict.value}: {'; '.join(each.figures)}"


def _summary(found: Sequence[RuleChecked]) -> str:
    counts = Counter(each.verdict for rule in found for each in rule.devices)
    if not counts:
        return "Nothing was run"
    rules = sum(1 for rule in found if rule.devices)
    verdicts = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    names = dict.fromkeys(each.device for rule in found for each in rule.devices)
    return f"{rules} rule{'s' * (rules != 1)} on {', '.join(names)}: {verdicts}"


def _json(found: Sequence[RuleChecked]) -> str:
    versions = {"torch": str(torch.__version__), "python": platform.python_version()}
    data = msgspec.json.encode({**versions, "level": _LEVEL, "rules": found})
    return msgspec.json.format(data, indent=2).decode() + "\n"
