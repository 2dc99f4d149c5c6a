"""Comments that say what must be found on their line.

``# expect: GRD101`` wants one finding of that rule which starts on the line; ``# expect: GRD101 "graph"`` wants
the words in its message; several are separated by commas. ``# todo-expect: GRD101`` marks a known missed alarm
and fails as soon as it is found; ``# todo-ok: GRD101`` marks a known false alarm and fails as soon as it is gone.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

from gradlint.finding import Finding

Kind = Literal["expect", "todo-expect", "todo-ok"]

_HEAD = re.compile(r"#\s*(?P<kind>expect|todo-expect|todo-ok)\b(?P<colon>:?)")
_ITEM = re.compile(r'\s*(?P<code>[A-Z]+[0-9]+)(?:\s+"(?P<words>[^"]*)")?\s*')


class ExpectationError(ValueError):
    """A comment that looks like an expectation and cannot be read as one."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One wanted finding: ``words`` must be part of its message, and None leaves the message free."""

    kind: Kind
    code: str
    line: int
    words: str | None = None

    def __str__(self) -> str:
        """Write it as the comment does."""
        return f"# {self.kind}: {self.code}" + (f' "{self.words}"' if self.words is not None else "")

    def matches(self, finding: Finding) -> bool:
        """Tell whether ``finding`` is the one that is meant."""
        return (
            finding.code == self.code
            and finding.location.line == self.line
            and (self.words is None or self.words in finding.message)
        )


def comments(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield line (from 1), column (from 0) and text of every comment, up to where ``text`` stops being Python."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield (*token.start, token.string)
    except (tokenize.TokenError, SyntaxError):
        return


def parse_expectations(text: str) -> list[Expectation]:
    """Return the expectations in the source ``text``, in source order.

    Raises `ExpectationError` for a comment that names no code, quotes badly or lacks its colon.
    """
    return [expectation for line, _, comment in comments(text) for expectation in _parse_comment(comment, line)]


def _parse_comment(comment: str, line: int) -> Iterator[Expectation]:
    for head in _HEAD.finditer(comment):
        if not head["colon"]:
            raise ExpectationError(f'line {line}: write "# {head["kind"]}: CODE", with a colon')
        position = head.end()
        while True:
            item = _ITEM.match(comment, position)
            if item is None:
                raise ExpectationError(f"line {line}: {comment[head.start() :]!r} does not name a code")
            yield Expectation(cast(Kind, head["kind"]), item["code"], line, item["words"])
            position = item.end()
            if position == len(comment) or comment[position] == "#":
                break
            if comment[position] != ",":
                raise ExpectationError(f"line {line}: cannot read {comment[position:]!r} behind an expectation")
            position += 1


def compare(expectations: Iterable[Expectation], findings: Iterable[Finding]) -> list[str]:
    """Hold findings against expectations, strictly both ways; return what does not fit in words, in source order.

    Each finding fulfils at most one expectation. Expectations with words choose first, so that one without takes
    what is left.
    """
    left = list(findings)
    mismatches: list[tuple[int, str]] = []
    for wanted in sorted(expectations, key=lambda expectation: expectation.words is None):
        found = next((finding for finding in left if wanted.matches(finding)), None)
        if found is not None:
            left.remove(found)
        if (found is None) is (wanted.kind == "todo-expect"):
            continue
        mismatches.append((wanted.line, _words_for(wanted, [f for f in left if f.location.line == wanted.line])))
    for finding in left:
        line = finding.location.line
        mismatches.append((line, f'line {line}: unexpected {finding.code} "{finding.message}"'))
    return [words for _, words in sorted(mismatches)]


def _words_for(wanted: Expectation, on_line: list[Finding]) -> str:
    if wanted.kind == "todo-expect":
        return f"line {wanted.line}: {wanted.code} is found now: turn `todo-expect` into `expect`"
    if wanted.kind == "todo-ok":
        return f"line {wanted.line}: {wanted.code} is no longer reported: remove `todo-ok`"
    instead = "; ".join(f'{finding.code} "{finding.message}"' for finding in on_line) or "nothing"
    return f"line {wanted.line}: wanted {wanted}, found {instead}"
