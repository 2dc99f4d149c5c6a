"""One file: from its bytes to its findings. Runs in a worker process or in the caller's.

Nothing that goes wrong here leaves the file: what cannot be read or parsed is GRD000, and an exception in one
body or one rule is GRD002 while the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from gradlint import garbage, registry, silencing
from gradlint.codes import INTERNAL_ERROR, NOT_ANALYSED
from gradlint.excerpts import shown_places
from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.source import parsing, reading, suppressions
from gradlint.source.positions import Excerpt, Lines

if TYPE_CHECKING:
    import ast

    from gradlint.facts import Elsewhere
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.linking.interface import Interface, View
    from gradlint.linking.reads import Reads
    from gradlint.rule import Draft
    from gradlint.torch_model.frameworks import Framework
    from gradlint.torch_model.words import Places

_REPORT_BUG = "this is a fault of gradlint and not of your code; please report it"
_WHOLE_FILE = (1, 0, 1, 0)
ELSEWHERE = "\0"
"""What the path of evidence in another file begins with; the name follows by which that file is linked."""
_TELLS = ("import", "def ", "class ")
"""Without any of these a text has nothing to tell other files."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run needs to know of the configuration. ``seconds`` is the wall time that one file may take.

    ``contracts`` are the project's own, beside those of known frameworks.
    """

    codes: frozenset[str]
    severities: Mapping[str, Severity] = field(default_factory=dict)
    min_certainty: Certainty = Certainty.LIKELY
    require_reason: bool = False
    raise_internal_errors: bool = False
    link: bool = True
    contracts: tuple[Framework, ...] = ()
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """A file to check: its name as shown, its bytes, and the codes that are ignored in it.

    ``name`` is what it is called among the files it is linked with; empty if it stands alone. ``view`` is what these
    have told so far, encoded.
    """

    path: str
    data: bytes
    ignored: frozenset[str] = frozenset()
    name: str = ""
    view: bytes | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file. ``failed`` tells that some part of it was not analysed.

    ``told`` is what the file tells those it is linked with, encoded; None if it is not known, or stands alone. If it
    was told something, only of what was analysed: the rest stays as it was. ``reads`` is what it looked at of that,
    None if that is not known.
    ``quiet``: nothing in it was analysed, for it says nothing of gradients. Evidence in other files is at paths that
    begin with `ELSEWHERE`.
    """

    path: str
    findings: tuple[Finding, ...] = ()
    excerpts: Mapping[Location, Excerpt] = field(default_factory=dict)
    failed: bool = False
    told: bytes | None = None
    reads: Reads | None = None
    quiet: bool = False


def concerns(data: bytes) -> bool:
    """Tell whether a file with these bytes can have a finding: whatever is not empty may be no Python."""
    return bool(data) and not data.isspace()


def load() -> None:
    """Import now what checking the first file would import."""
    from gradlint.lower.python import outline  # noqa: F401
    from gradlint.project import analysis  # noqa: F401

    registry.all_rules()


def check_batch(jobs: Sequence[Job], settings: Settings) -> list[Report]:
    """Return the reports of several files, with garbage collection put off."""
    with garbage.put_off():
        reports = [check_file(job, settings) for job in jobs]
        garbage.analysed(sum(len(job.data) for job in jobs))
    return reports


def check_file(job: Job, settings: Settings) -> Report:
    """Return the report of one file."""
    try:
        source = reading.decode(job.path, job.data)
    except reading.NotReadable as error:
        return not_analysed(job.path, error, settings, job.ignored)
    return _Check(source, settings, job).report()


def check_text(path: str, text: str, settings: Settings, ignored: frozenset[str]) -> Report:
    """Return the report of a text that needs no decoding and stands alone."""
    try:
        text = reading.plain(text.removeprefix("\ufeff"))
        data = text.encode()
        reading.require_size(len(data))
        if "\0" in text:
            raise reading.NotReadable("contains a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    except reading.NotReadable as error:
        return not_analysed(path, error, settings, ignored)
    return _Check(reading.SourceFile(path, data, text, "utf-8"), settings, Job(path, data, ignored)).report()


def not_analysed(path: str, error: reading.NotReadable, settings: Settings, ignored: frozenset[str]) -> Report:
    """Return the report of a file that could not be read or decoded."""
    return _failure(path, settings, ignored, NOT_ANALYSED, error)


def died(job: Job, settings: Settings) -> Report:
    """Return the report of a file whose analysis ended the process."""
    error = reading.NotReadable("the analysing process died while it worked on this file", remedy=_REPORT_BUG)
    return _failure(job.path, settings, job.ignored, INTERNAL_ERROR, error)


def not_linked(path: str, fault: Exception, settings: Settings, ignored: frozenset[str]) -> Report:
    """Return the report that files were not linked, at ``path``, the first of them."""
    problem = f"what the files tell each other was not put together ({_worded(fault)})"
    error = reading.NotReadable(problem, remedy=_REPORT_BUG)
    return _failure(path, settings, ignored, INTERNAL_ERROR, error)


def told_of_nothing(name: str) -> bytes:
    """Return what a file without any code tells: that it is there."""
    from gradlint.linking.interface import Interface, encode

    return encode(Interface(name))


def _failure(path: str, settings: Settings, ignored: frozenset[str], code: str, error: reading.NotReadable) -> Report:
    if code not in settings.codes - ignored:
        return Report(path)
    location = Location(error.line, error.column, error.line, error.column + 1)
    severity = None if error.fault else Severity.INFO
    finding = _engine_finding(
        code, path, location, settings, severity=severity, problem=error.problem, remedy=error.remedy
    )
    return Report(path, (finding,), failed=True)


def _engine_finding(
    code: str, path: str, location: Location, settings: Settings, *, severity: Severity | None = None, **words: str
) -> Finding:
    rule = registry.rule(code)
    level = settings.severities.get(code) or severity or rule.severity
    message, remedy = rule.message.format(**words), rule.help.format(**words)
    return Finding(code, rule.name, level, rule.certainty, path, location, message, remedy)


class _Check:
    """The way of one decoded file through parsing, analysis, rules and suppressions."""

    def __init__(self, source: reading.SourceFile, settings: Settings, job: Job) -> None:
        self._source = source
        self._settings = settings
        self._job = job
        self._name = job.name or job.path
        self._codes = settings.codes - job.ignored
        self._lines = Lines(source.text)
        self._tree: ast.Module | None = None
        self._interface: Interface | None = None
        self._reads: Reads | None = None
        self._failures: list[Finding] = []
        self._drafts_of: dict[tuple[str, Location], Draft] = {}
        self._complete = True

    def report(self) -> Report:
        """Check the file and return its report."""
        from gradlint.linking.interface import EMPTY, decode_view
        from gradlint.torch_model.words import Places, mentions_torch

        found: list[Finding] = []
        view = EMPTY if self._job.view is None else decode_view(self._job.view)
        places = Places(self._source.text) if view.asked or mentions_torch(self._source.data) else None
        quiet = not places and not view.asked
        if places is None or quiet:
            self._hold_against_grammar()
        else:
            found = self._findings(places, view)
        told = self._told() if self._job.name else None
        if suppressions.marked(self._source.data):
            comments = silencing.Comments(self._source.text, self._codes, self._own)
            found = comments.leave(found, complete=self._complete, require_reason=self._settings.require_reason)
        certain = [f for f in found if f.certainty.rank <= self._settings.min_certainty.rank]
        mended = self._with_fixes(certain)
        findings = sorted(mended + self._failures, key=lambda f: f.sort_key)
        excerpts = {place: self._lines.excerpt(place) for place in shown_places(findings).get(self._source.path, ())}
        return Report(self._source.path, tuple(findings), excerpts, bool(self._failures), told, self._reads, quiet)

    def _hold_against_grammar(self) -> None:
        """Of a file that says nothing about gradients only this is said: that it is no Python."""
        text = self._source.text
        try:
            parsing.require_valid(text)
        except reading.NotReadable as error:
            self._not_analysed(error)
            return
        if self._job.name and any(word in text for word in _TELLS):
            with suppress(reading.NotReadable):
                self._tree = parsing.parse_unbounded(text)

    def _told(self) -> bytes | None:
        """Return what the others are told, as far as it is known."""
        from gradlint.linking.interface import encode

        try:
            interface = self._interface if self._job.view is not None else self._sketched()
            return encode(interface) if interface is not None else None
        except Exception as error:
            self._crash(error, "other files are told nothing of this one", _WHOLE_FILE)
            return None

    def _sketched(self) -> Interface | None:
        """Return what is known of the whole file: what the analysis told, and of the rest what its tree does."""
        from gradlint.linking.completing import completed
        from gradlint.linking.interface import Interface
        from gradlint.project.linked.sketch import sketch

        told = self._interface
        if self._tree is None:
            return None if self._failures else Interface(self._name)
        solved = {function.qualname for function in told.functions.values() if function.solved} if told else ()
        sketched = sketch(self._tree, self._name, self._lines, solved)
        return sketched if told is None else completed(told, sketched)

    def _not_analysed(self, error: reading.NotReadable) -> None:
        location = Location(error.line, error.column, error.line, error.column + 1)
        severity = None if error.fault else Severity.INFO
        self._fail(NOT_ANALYSED, location, error.problem, error.remedy, severity)

    def _findings(self, places: Places, view: View) -> list[Finding]:
        """Parse, analyse and ask the rules; a finding that is made twice counts once, in its surest form."""
        best: dict[tuple[str, Location], Finding] = {}
        for draft in self._drafts(places, view):
            finding = self._located(draft)
            key = (finding.code, finding.location)
            if key not in best or _strength(finding) < _strength(best[key]):
                best[key] = finding
                self._drafts_of[key] = draft
        return list(best.values())

    def _with_fixes(self, findings: list[Finding]) -> list[Finding]:
        """Ask the rules how to mend what is reported."""
        drafts = [self._drafts_of.get((finding.code, finding.location)) for finding in findings]
        if all(draft is None or draft.fact is None for draft in drafts):
            return findings
        from gradlint.fix.asking import fixes

        found = fixes(drafts, self._source.text, self._on_fix_crash)
        return [replace(finding, fixes=each or finding.fixes) for finding, each in zip(findings, found, strict=True)]

    def _on_fix_crash(self, draft: Draft, error: Exception) -> None:
        self._crash(error, f"{draft.rule.code} failed to write a fix", draft.span)

    def _drafts(self, places: Places, view: View) -> list[Draft]:
        drafts: list[Draft] = []
        try:
            for draft in self._analysis(places, view):
                drafts.append(draft)
        except reading.NotReadable as error:
            self._not_analysed(error)
        except Exception as error:
            self._crash(error, "the analysis of the file failed", _WHOLE_FILE)
        return drafts

    def _analysis(self, places: Places, view: View) -> Iterator[Draft]:
        from gradlint.project.analysis import analyse
        from gradlint.project.expected import any_covered
        from gradlint.project.linked.sketch import place
        from gradlint.project.program import OutOfTime
        from gradlint.torch_model.contracts import contracts

        deadline = time.monotonic() + self._settings.seconds
        rules = [rule for rule in registry.all_rules() if rule.code in self._codes]
        module = self._lowered(places, view)
        facts_of = partial(
            analyse,
            view=view,
            name=self._job.name,
            locate=partial(place, self._lines),
            rows=contracts(self._settings.contracts),
        )
        tell = self._tell if self._job.name else None
        try:
            for facts in facts_of(module, self._name, self._on_crash, deadline, tell=tell):
                for rule in rules:
                    try:
                        drafts = rule.check(facts)
                        yield from (draft for draft in drafts if not any_covered(facts.expected, draft.places))
                    except Exception as error:
                        self._crash(error, f"{rule.code} failed on {_called(facts.body)}", facts.body.name_span)
        except OutOfTime:
            problem = f"gave up after {self._settings.seconds:g} s; the rest of the file was not analysed"
            location = self._lines.location(_WHOLE_FILE)
            self._fail(INTERNAL_ERROR, location, problem, "split the file, or exclude it", Severity.INFO)

    def _lowered(self, places: Places, view: View) -> Body:
        """Parse and lower what matters of the file."""
        from gradlint.lower.python import lower
        from gradlint.lower.python.outline import outline, outlined

        text = self._source.text
        short = outline(text, places, view.asked)
        whole = parsing.parse_unbounded(text)
        tree = outlined(whole, short) if short is not text else whole
        parsing.require_bounds(tree)
        self._tree = whole
        return lower(text, tree, places, short)

    def _tell(self, interface: Interface, reads: Reads) -> None:
        self._interface, self._reads = interface, reads

    def _on_crash(self, body: Body, error: Exception) -> None:
        self._crash(error, f"the analysis of {_called(body)} failed", body.name_span)

    def _crash(self, error: Exception, what: str, span: Span) -> None:
        if self._settings.raise_internal_errors:
            raise error
        self._fail(INTERNAL_ERROR, self._lines.location(span), f"{what} ({_worded(error)})", _REPORT_BUG)

    def _fail(self, code: str, location: Location, problem: str, remedy: str, severity: Severity | None = None) -> None:
        self._complete = False
        if code in self._codes:
            self._failures.append(self._own(code, location, severity=severity, problem=problem, remedy=remedy))

    def _own(self, code: str, location: Location, *, severity: Severity | None = None, **words: str) -> Finding:
        return _engine_finding(code, self._source.path, location, self._settings, severity=severity, **words)

    def _located(self, draft: Draft) -> Finding:
        rule = draft.rule
        return Finding(
            code=rule.code,
            name=rule.name,
            severity=self._settings.severities.get(rule.code, rule.severity),
            certainty=draft.certainty,
            path=self._source.path,
            location=self._lines.location(draft.span),
            message=draft.message,
            help=draft.help,
            evidence=tuple(self._evidence(where, text) for where, text in draft.because),
        )

    def _evidence(self, where: Span | Elsewhere, text: str) -> Evidence:
        if len(where) == 2:
            path, found = where
            location = Location(found.line, found.column, found.end_line, found.end_column)
            return Evidence(self._source.path if path == self._name else ELSEWHERE + path, location, text)
        return Evidence(self._source.path, self._lines.location(where), text)


def _strength(finding: Finding) -> tuple[int, list[tuple[str, Location, str]]]:
    """Return what the surest of several findings is the least by, however the path of the file was written."""
    steps = [("" if step.path == finding.path else step.path, step.location, step.text) for step in finding.evidence]
    return finding.certainty.rank, steps


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200].rstrip(": ")


def _called(body: Body) -> str:
    return f"`{body.qualname}`" if body.qualname else "the module"
