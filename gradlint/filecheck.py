"""One file: from its bytes to its findings. Runs in a worker process or in the caller's.

Nothing that goes wrong here leaves the file: what cannot be read or parsed is GRD000, and an exception in one
body or one rule is GRD002 while the rest goes on.
"""

from __future__ import annotations

import gc
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gradlint import registry
from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.source import parsing, reading, suppressions
from gradlint.source.positions import Excerpt, Lines
from gradlint.source.suppressions import Suppression

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.rule import Draft
    from gradlint.torch_model.words import Places

NOT_ANALYSED = "GRD000"
UNUSED_SUPPRESSION = "GRD001"
INTERNAL_ERROR = "GRD002"
INVALID_SUPPRESSION = "GRD003"
FAILURES = frozenset({NOT_ANALYSED, INTERNAL_ERROR})
"""The codes that say that something was not analysed: always on unless ignored, and the reason for exit code 2."""
ABOUT_LINTING = FAILURES | {UNUSED_SUPPRESSION, INVALID_SUPPRESSION}
"""The codes that speak of the linter's work and not of what the code does when it runs."""

_REPORT_BUG = "this is a fault of gradlint and not of your code; please report it"
_WHOLE_FILE = (1, 0, 1, 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker needs to know of the configuration. ``seconds`` is the wall time that one file may take."""

    codes: frozenset[str]
    severities: Mapping[str, Severity] = field(default_factory=dict)
    min_certainty: Certainty = Certainty.LIKELY
    require_reason: bool = False
    raise_internal_errors: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """A file to check: its name as shown, its bytes, and the codes that are ignored in it."""

    path: str
    data: bytes
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file. ``failed`` tells that some part of it was not analysed."""

    path: str
    findings: tuple[Finding, ...] = ()
    excerpts: Mapping[Location, Excerpt] = field(default_factory=dict)
    failed: bool = False


def concerns(data: bytes) -> bool:
    """Tell whether a file with these bytes can have a finding: whatever is not empty may be no Python."""
    return bool(data) and not data.isspace()


def load() -> None:
    """Import now what checking the first file would import."""
    from gradlint.lower.python import outline  # noqa: F401
    from gradlint.project import analysis  # noqa: F401

    registry.all_rules()


def check_batch(jobs: Sequence[Job], settings: Settings) -> list[Report]:
    """Return the reports of several files, with garbage collection paused."""
    with _collection_paused():
        return [check_file(job, settings) for job in jobs]


def check_file(job: Job, settings: Settings) -> Report:
    """Return the report of one file."""
    try:
        source = reading.decode(job.path, job.data)
    except reading.NotReadable as error:
        return not_analysed(job.path, error, settings, job.ignored)
    return _Check(source, settings, job.ignored).report()


def check_text(path: str, text: str, settings: Settings, ignored: frozenset[str]) -> Report:
    """Return the report of a text that needs no decoding."""
    try:
        text = reading.plain(text.removeprefix("\ufeff"))
        data = text.encode()
        reading.require_size(len(data))
        if "\0" in text:
            raise reading.NotReadable("contains a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    except reading.NotReadable as error:
        return not_analysed(path, error, settings, ignored)
    return _Check(reading.SourceFile(path, data, text, "utf-8"), settings, ignored).report()


def not_analysed(path: str, error: reading.NotReadable, settings: Settings, ignored: frozenset[str]) -> Report:
    """Return the report of a file that could not be read or decoded."""
    return _failure(path, settings, ignored, NOT_ANALYSED, error)


def died(job: Job, settings: Settings) -> Report:
    """Return the report of a file whose analysis ended the process."""
    error = reading.NotReadable("the analysing process died while it worked on this file", remedy=_REPORT_BUG)
    return _failure(job.path, settings, job.ignored, INTERNAL_ERROR, error)


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

    def __init__(self, source: reading.SourceFile, settings: Settings, ignored: frozenset[str]) -> None:
        self._source = source
        self._settings = settings
        self._codes = settings.codes - ignored
        self._lines = Lines(source.text)
        self._failures: list[Finding] = []
        self._drafts_of: dict[tuple[str, Location], Draft] = {}
        self._complete = True

    def report(self) -> Report:
        """Check the file and return its report."""
        from gradlint.torch_model.words import Places, mentions_torch

        found: list[Finding] = []
        if mentions_torch(self._source.data) and (places := Places(self._source.text)):
            found = self._findings(places)
        else:
            self._require_valid()
        if suppressions.marked(self._source.data):
            found = self._suppressed(found)
        certain = [f for f in found if f.certainty.rank <= self._settings.min_certainty.rank]
        mended = self._with_fixes(certain)
        findings = sorted(mended + self._failures, key=lambda f: f.sort_key)
        excerpts = {place: self._lines.excerpt(place) for place in self._places(findings)}
        return Report(self._source.path, tuple(findings), excerpts, bool(self._failures))

    def _require_valid(self) -> None:
        """Of a file that says nothing about gradients only this is said: that it is no Python."""
        try:
            parsing.require_valid(self._source.text)
        except reading.NotReadable as error:
            self._not_analysed(error)

    def _not_analysed(self, error: reading.NotReadable) -> None:
        location = Location(error.line, error.column, error.line, error.column + 1)
        severity = None if error.fault else Severity.INFO
        self._fail(NOT_ANALYSED, location, error.problem, error.remedy, severity)

    def _places(self, findings: list[Finding]) -> set[Location]:
        """Return the places whose lines are shown: those pointed at, and the single lines between two of them."""
        places: set[Location] = set()
        for finding in findings:
            steps = [step.location for step in finding.evidence if step.path == self._source.path]
            places.update((finding.location, *steps))
            lines = {place.line for place in (finding.location, *steps)}
            between = {line + 1 for line in lines if line + 2 in lines} - lines
            places.update(Location(line, 1, line, 1) for line in between)
        return places

    def _findings(self, places: Places) -> list[Finding]:
        """Parse, analyse and ask the rules; a finding that is made twice counts once, in its surest form."""
        best: dict[tuple[str, Location], Finding] = {}
        for draft in self._drafts(places):
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

    def _drafts(self, places: Places) -> list[Draft]:
        drafts: list[Draft] = []
        try:
            for draft in self._analysis(places):
                drafts.append(draft)
        except reading.NotReadable as error:
            self._not_analysed(error)
        except Exception as error:
            self._crash(error, "the analysis of the file failed", _WHOLE_FILE)
        return drafts

    def _analysis(self, places: Places) -> Iterator[Draft]:
        from gradlint.lower.python import lower
        from gradlint.lower.python.outline import outline
        from gradlint.project.analysis import analyse
        from gradlint.project.program import OutOfTime

        deadline = time.monotonic() + self._settings.seconds
        rules = [rule for rule in registry.all_rules() if rule.code in self._codes]
        text = self._source.text
        short = outline(text, places)
        module = lower(text, parsing.parse_outline(text, short), places, short)
        try:
            for facts in analyse(module, self._source.path, self._on_crash, deadline):
                for rule in rules:
                    try:
                        yield from rule.check(facts)
                    except Exception as error:
                        self._crash(error, f"{rule.code} failed on {_called(facts.body)}", facts.body.name_span)
        except OutOfTime:
            problem = f"gave up after {self._settings.seconds:g} s; the rest of the file was not analysed"
            location = self._lines.location(_WHOLE_FILE)
            self._fail(INTERNAL_ERROR, location, problem, "split the file, or exclude it", Severity.INFO)

    def _on_crash(self, body: Body, error: Exception) -> None:
        self._crash(error, f"the analysis of {_called(body)} failed", body.name_span)

    def _crash(self, error: Exception, what: str, span: Span) -> None:
        if self._settings.raise_internal_errors:
            raise error
        words = f"{type(error).__name__}: {error}"[:200].rstrip(": ")
        self._fail(INTERNAL_ERROR, self._lines.location(span), f"{what} ({words})", _REPORT_BUG)

    def _fail(self, code: str, location: Location, problem: str, remedy: str, severity: Severity | None = None) -> None:
        self._complete = False
        if code in self._codes:
            self._failures.append(self._own(code, location, severity=severity, problem=problem, remedy=remedy))

    def _own(self, code: str, location: Location, *, severity: Severity | None = None, **words: str) -> Finding:
        return _engine_finding(code, self._source.path, location, self._settings, severity=severity, **words)

    def _located(self, draft: Draft) -> Finding:
        rule, path = draft.rule, self._source.path
        return Finding(
            code=rule.code,
            name=rule.name,
            severity=self._settings.severities.get(rule.code, rule.severity),
            certainty=draft.certainty,
            path=path,
            location=self._lines.location(draft.span),
            message=draft.message,
            help=draft.help,
            evidence=tuple(Evidence(path, self._lines.location(span), text) for span, text in draft.because),
        )

    def _suppressed(self, found: list[Finding]) -> list[Finding]:
        """Return what the file's comments leave of ``found``, and what is to be said about the comments."""
        comments = [_Comment(suppression) for suppression in suppressions.scan(self._source.text)]
        kept = _leave(comments, found + self._invalid(comments))
        # A file that was not fully analysed may hold what an idle comment is for.
        idle = self._unused(comments) if self._complete else []
        return kept + _leave(comments, idle + self._unexplained(comments))

    def _invalid(self, comments: list[_Comment]) -> list[Finding]:
        if INVALID_SUPPRESSION not in self._codes:
            return []
        form = "write `# gradlint: ignore[CODE] -- reason`"
        return [
            self._own(INVALID_SUPPRESSION, comment.suppression.location, problem=problem, remedy=remedy or form)
            for comment in comments
            for problem, remedy in comment.problems()
        ]

    def _unexplained(self, comments: list[_Comment]) -> list[Finding]:
        if INVALID_SUPPRESSION not in self._codes or not self._settings.require_reason:
            return []
        form = "write `# gradlint: ignore[{}] -- reason`"
        return [
            self._own(
                INVALID_SUPPRESSION,
                comment.suppression.location,
                problem="a suppression must give its reason",
                remedy=form.format(", ".join(comment.suppression.codes)),
            )
            for comment in comments
            if comment.suppression.used and comment.suppression.codes is not None and not comment.suppression.reason
        ]

    def _unused(self, comments: list[_Comment]) -> list[Finding]:
        if UNUSED_SUPPRESSION not in self._codes:
            return []
        from gradlint.fix.comments import without

        found: list[Finding] = []
        for comment in comments:
            idle = comment.unused(self._codes)
            if idle:
                codes = ", ".join(idle)
                what = "the comment" if comment.is_all(idle) else f"{codes} from the comment"
                finding = self._own(UNUSED_SUPPRESSION, comment.suppression.location, codes=codes, what=what)
                found.append(replace(finding, fixes=without(self._source.text, comment.suppression, idle)))
        return found


class _Comment:
    """A suppression comment and the rules it names."""

    def __init__(self, suppression: Suppression) -> None:
        self.suppression = suppression
        self._unknown: list[str] = []
        self._codes: dict[str, str] = {}
        for written in suppression.codes or ():
            try:
                self._codes[registry.rule(written).code] = written
            except registry.UnknownRule as error:
                self._unknown.append(str(error))

    def silences(self, code: str) -> bool:
        """Tell whether findings with ``code`` are meant."""
        return self.suppression.codes is None or code in self._codes

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the comment, and what to do if there is more to say than the form."""
        if self.suppression.malformed:
            yield self.suppression.malformed, ""
            return
        for unknown in self._unknown:
            yield unknown, "`gradlint rules` lists the rules"
        for code in sorted(FAILURES & self._codes.keys()):
            yield f"{code} cannot be suppressed by a comment", "use `per-file-ignores` in the configuration"

    def unused(self, active: frozenset[str]) -> list[str]:
        """Return the rules as written that ran and had nothing to silence."""
        countable = active - FAILURES - {UNUSED_SUPPRESSION} - self.suppression.used
        return [written for code, written in self._codes.items() if code in countable]

    def is_all(self, written: list[str]) -> bool:
        """Tell whether the comment says nothing but ``written``; a ``noqa`` may hold codes of other linters."""
        return not self.suppression.is_noqa and len(written) == len(self.suppression.codes or ())


def _leave(comments: list[_Comment], findings: list[Finding]) -> list[Finding]:
    """Return the findings that no comment silences, and note in the comments what they silenced."""
    findings = sorted(findings, key=lambda f: f.location.line)
    lines = [finding.location.line for finding in findings]
    silenced: set[int] = set()
    for comment in comments:
        suppression = comment.suppression
        if suppression.malformed:
            continue
        first, last = suppression.rows or (0, lines[-1] if lines else 0)
        for index in range(bisect_left(lines, first), bisect_right(lines, last)):
            if comment.silences(findings[index].code):
                suppression.used.add(findings[index].code)
                silenced.add(index)
    return [finding for index, finding in enumerate(findings) if index not in silenced]


def unsuppressed(findings: Sequence[Finding], text: str) -> list[Finding]:
    """Return the findings in ``text`` that none of its comments silences."""
    if not findings or not suppressions.marked(text.encode("utf-8", "surrogatepass")):
        return list(findings)
    return _leave([_Comment(suppression) for suppression in suppressions.scan(text)], list(findings))


def _strength(finding: Finding) -> tuple[int, tuple[Evidence, ...]]:
    return finding.certainty.rank, finding.evidence


def _called(body: Body) -> str:
    return f"`{body.qualname}`" if body.qualname else "the module"


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Analysis makes many objects and drops them together; looking for cycles meanwhile is wasted time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
