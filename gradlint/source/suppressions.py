"""Suppression comments: ``# gradlint: ignore[GRD101] -- reason``, ``# gradlint: ignore-file[...]``, ``# noqa: GRD101``.

They are found by the tokenizer, so text in a string is never one. A comment at the end of a line covers that
line, and at the end of a statement's last line the whole statement; one on a line of its own covers the
statement that follows directly (between brackets: the next line). "Statement" means a logical line: of a
compound statement only the header. What is covered are findings that *begin* there. ``# noqa`` knows the first
two ways only, as in other linters, and without codes it silences every linter.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradlint.finding import Location

_OWN = re.compile(r"#\s*gradlint:\s*(?P<word>[\w-]*)\s*(?:\[(?P<codes>[^\]#]*)\])?(?P<rest>[^#]*)", re.IGNORECASE)
_NOQA = re.compile(r"#\s*noqa\b(?P<colon>\s*:)?(?P<rest>[^#]*)", re.IGNORECASE)
_NOQA_CODE = re.compile(r"[\s,]*([A-Za-z]+[0-9]+)\b")
_OUR_CODE = re.compile(r"GRD\d{3}$", re.IGNORECASE)
_STRUCTURE = frozenset({tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING})

Rows = tuple[int, int]


@dataclass(slots=True, eq=False)
class Suppression:
    """One comment. ``codes`` are as written; None silences everything. ``rows`` are the lines it covers, None: all.

    ``malformed`` says what is wrong with it; it then covers nothing. ``used`` collects what it silenced.
    """

    location: Location
    codes: tuple[str, ...] | None
    rows: Rows | None
    is_noqa: bool
    reason: str = ""
    malformed: str = ""
    used: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Comment:
    row: int
    column: int
    text: str
    alone: bool
    statement: Rows
    """The rows of the statement that it ends, or of its own line."""
    below: Rows
    """The rows that it covers when it stands alone."""


def marked(data: bytes) -> bool:
    """Tell whether ``data`` may hold a suppression at all; most files do not, and need no second reading."""
    lowered = data.lower()
    return b"noqa" in lowered or b"gradlint:" in lowered


def scan(text: str) -> list[Suppression]:
    """Return the suppressions in ``text``, in source order. Text that cannot be tokenized to its end yields fewer."""
    found: list[Suppression] = []
    for comment in _comments(text):
        for parse in (_own, _noqa):
            suppression = parse(comment)
            if suppression is not None:
                found.append(suppression)
    return found


def _own(comment: _Comment) -> Suppression | None:
    match = _OWN.search(comment.text)
    if match is None:
        return None
    word, listed, rest = match["word"].lower(), match["codes"], match["rest"].strip()
    if word not in ("ignore", "ignore-file"):
        return _malformed(comment, f"unknown directive `{match['word']}`") if match.start() == 0 else None
    codes = tuple(code for part in (listed or "").split(",") if (code := part.strip()))
    if not codes:
        return _malformed(comment, "a suppression must name the rules it silences")
    if rest and not rest.startswith("--"):
        return _malformed(comment, "text after the rules must be a reason, behind ` -- `")
    rows = None if word == "ignore-file" else comment.below if comment.alone else comment.statement
    return Suppression(_location(comment, match), codes, rows, False, reason=rest.removeprefix("--").strip())


def _noqa(comment: _Comment) -> Suppression | None:
    match = _NOQA.search(comment.text)
    if match is None:
        return None
    rows = (comment.row, comment.row) if comment.alone else comment.statement
    if not match["colon"]:
        return Suppression(_location(comment, match), None, rows, True)
    codes: list[str] = []
    position = 0
    while code := _NOQA_CODE.match(match["rest"], position):
        codes.append(code.group(1))
        position = code.end()
    ours = tuple(code for code in codes if _OUR_CODE.match(code))
    return Suppression(_location(comment, match), ours, rows, True) if ours else None


def _malformed(comment: _Comment, problem: str) -> Suppression:
    location = Location(comment.row, comment.column + 1, comment.row, comment.column + 1 + len(comment.text))
    return Suppression(location, (), (0, 0), False, malformed=problem)


def _location(comment: _Comment, match: re.Match[str]) -> Location:
    start = comment.column + 1 + match.start()
    return Location(comment.row, start, comment.row, start + len(match.group().rstrip()))


def _comments(text: str) -> list[_Comment]:
    """Return every comment with the rows it may cover."""
    found: list[_Comment] = []
    waiting: list[_Comment] = []  # alone on their lines, directly above whatever comes next
    start: int | None = None  # the row where the current statement began
    first = 0  # the first comment found inside it
    for token in _tokens(text):
        row = token.start[0]
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            below = (row + 1, row + 1) if start is not None else (row, row)
            comment = _Comment(row, token.start[1], token.string, alone, (row, row), below)
            found.append(comment)
            if alone and start is None:
                waiting.append(comment)
        elif token.type == tokenize.NEWLINE:
            for comment in waiting:
                comment.below = (start or row, row)
            for comment in found[first:]:
                if comment.row == row:
                    comment.statement = (start or row, row)
            waiting, start, first = [], None, len(found)
        elif token.type == tokenize.NL:
            if start is None and not token.line.strip():
                waiting = []
        elif token.type not in _STRUCTURE and start is None:
            start = row
    return found


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError):
        return
