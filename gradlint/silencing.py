"""What suppression comments leave of the findings in a file, and what is to be said about the comments themselves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gradlint import registry
from gradlint.codes import FAILURES, INVALID_SUPPRESSION, UNUSED_SUPPRESSION
from gradlint.finding import Finding
from gradlint.source import suppressions
from gradlint.source.suppressions import Suppression

Own = Callable[..., Finding]
"""Makes a finding of the engine's own, given its code, its place and the words for its template."""


def unsuppressed(findings: Sequence[Finding], text: str) -> list[Finding]:
    """Return the findings in ``text`` that none of its comments silences."""
    if not findings or not suppressions.marked(text.encode("utf-8", "surrogatepass")):
        return list(findings)
    return _leave([_Comment(suppression) for suppression in suppressions.scan(text)], list(findings))


class Comments:
    """The suppression comments of ``text``. ``codes`` are those of the rules that ran, ``own`` makes findings."""

    def __init__(self, text: str, codes: frozenset[str], own: Own) -> None:
        self._text, self._codes, self._own = text, codes, own
        self._comments = [_Comment(suppression) for suppression in suppressions.scan(text)]

    def leave(self, found: list[Finding], *, complete: bool, require_reason: bool) -> list[Finding]:
        """Return what the comments leave of ``found``, and what is to be said about them.

        ``complete`` tells that all of the file was analysed: else it may hold what an idle comment is for.
        """
        kept = _leave(self._comments, found + self._invalid())
        idle = self._unused() if complete else []
        return kept + _leave(self._comments, idle + (self._unexplained() if require_reason else []))

    def _invalid(self) -> list[Finding]:
        if INVALID_SUPPRESSION not in self._codes:
            return []
        form = "write `# gradlint: ignore[CODE] -- reason`"
        return [
            self._own(INVALID_SUPPRESSION, comment.suppression.location, problem=problem, remedy=remedy or form)
            for comment in self._comments
            for problem, remedy in comment.problems()
        ]

    def _unexplained(self) -> list[Finding]:
        if INVALID_SUPPRESSION not in self._codes:
            return []
        form = "write `# gradlint: ignore[{}] -- reason`"
        return [
            self._own(
                INVALID_SUPPRESSION,
                comment.suppression.location,
                problem="a suppression must give its reason",
                remedy=form.format(", ".join(comment.suppression.codes)),
            )
            for comment in self._comments
            if comment.suppression.used and comment.suppression.codes is not None and not comment.suppression.reason
        ]

    def _unused(self) -> list[Finding]:
        if UNUSED_SUPPRESSION not in self._codes:
            return []
        from gradlint.fix.comments import without

        found: list[Finding] = []
        for comment in self._comments:
            idle = comment.unused(self._codes)
            if idle:
                codes = ", ".join(idle)
                what = "the comment" if comment.is_all(idle) else f"{codes} from the comment"
                finding = self._own(UNUSED_SUPPRESSION, comment.suppression.location, codes=codes, what=what)
                found.append(replace(finding, fixes=without(self._text, comment.suppression, idle)))
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
