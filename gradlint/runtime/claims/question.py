"""What a claim is asked about a finding, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from gradlint.finding import Finding, Location
from gradlint.runtime.checks.cause import counted
from gradlint.runtime.place import Place
from gradlint.runtime.recording import Raised, Recording, Row, at, covers
from gradlint.runtime.sources import absolute
from gradlint.runtime.verdict import Verdict


class Called(Protocol):
    """A row that knows who called."""

    @property
    def place(self) -> Place:
        """Where it happened."""

    @property
    def callers(self) -> tuple[Place, ...]:
        """The user's frames around it, innermost first."""


_R = TypeVar("_R", bound=Row)
_C = TypeVar("_C", bound=Called)


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict and the figures for it."""

    verdict: Verdict
    figures: tuple[str, ...] = ()


def confirmed(*figures: str) -> Answer:
    """Answer that the run did what the finding says."""
    return Answer(Verdict.CONFIRMED, figures)


def refuted(*figures: str) -> Answer:
    """Answer that the run did the contrary."""
    return Answer(Verdict.REFUTED, figures)


def undecided(*figures: str) -> Answer:
    """Answer that the code ran and the recording does not tell."""
    return Answer(Verdict.INCONCLUSIVE, figures)


def not_reached() -> Answer:
    """Answer that what the finding is about did not run."""
    return Answer(Verdict.NOT_REACHED)


@dataclass(frozen=True, slots=True)
class Question:
    """A finding and the run to hold it against.

    ``path`` is the finding's, absolute. ``hits`` tells how often its statement began to run, None if nobody counted;
    ``reached`` tells the same of any finding.
    """

    finding: Finding
    path: str
    recording: Recording
    hits: int | None
    reached: Callable[[Finding], int | None]

    @property
    def span(self) -> Location:
        """Where the finding is."""
        return self.finding.location

    @property
    def level(self) -> int:
        """How closely the run was watched."""
        return self.recording.level

    @property
    def ran(self) -> str:
        """Say how often the statement ran."""
        return f"ran {counted(self.hits, 'time')}" if self.hits else "ran"

    def evidence(self, words: str) -> Location | None:
        """Return where the finding's evidence with ``words`` in it is, if that is in the same file."""
        for step in self.finding.evidence:
            if words in step.text and absolute(step.path) == self.path:
                return step.location
        return None

    def hits_of(self, location: Location) -> int | None:
        """Return how often the code at another ``location`` of the file ran, None if nobody counted."""
        return self.reached(replace(self.finding, location=location))

    def at(self, rows: Iterable[_R], span: Location | None = None) -> list[_R]:
        """Return the rows inside of ``span`` (default: the finding's)."""
        return at(rows, self.path, span or self.span)

    def within(self, rows: Iterable[_C], span: Location | None = None) -> list[_C]:
        """Return the rows that happened in ``span``; if none did, those that happened in what was called there.

        Where the call that the span ends with has rows, those of its arguments are left out.
        """
        span = span or self.span
        rows = list(rows)
        own = [row for row in rows if self._holds(span, row.place)]
        outermost = [row for row in own if _end(row.place.location) == _end(span)]
        return outermost or own or [row for row in rows if any(self._holds(span, place) for place in row.callers)]

    def around(self, rows: Iterable[_R], span: Location) -> list[_R]:
        """Return the rows of the smallest expression or statement around ``span``.

        Before Python 3.13 a context manager is entered at the place of its whole ``with`` statement.
        """
        outer = [row for row in rows if row.place.path == self.path and covers(row.place.location, span)]
        smallest = min((_size(row.place.location) for row in outer), default=None)
        return [row for row in outer if _size(row.place.location) == smallest]

    def raised(self, words: str = "") -> str | None:
        """Return the exception that ended the run, if it came through the finding and its text has ``words``."""
        raised = self.recording.raised
        if raised is None or words not in raised.message:
            return None
        through = any(self._holds(self.span, place) or self._begins(place) for place in raised.frames)
        return shown_error(raised) if through else None

    def compiled(self) -> str | None:
        """Return the name of compiled code that the finding stands in or calls."""
        for row in self.recording.compiled:
            code = row.code
            inside = code is not None and code.path == self.path and covers(code.location, self.span)
            if inside or self._holds(self.span, row.place):
                return row.name
        return None

    def holds(self, place: Place) -> bool:
        """Tell whether ``place`` lies in the finding's."""
        return self._holds(self.span, place)

    def _holds(self, span: Location, place: Place) -> bool:
        return place.path == self.path and covers(span, place.location)

    def _begins(self, place: Place) -> bool:
        """Tell whether ``place`` is a statement around the finding that begins on its line, as a ``with`` does."""
        return place.path == self.path and place.line == self.span.line and covers(place.location, self.span)


Claim = Callable[[Question], Answer]
"""Decides about the findings of one rule."""


def shown_error(raised: Raised) -> str:
    """Write an exception as rows do: the type and the first line of its text."""
    first = raised.message.splitlines()[0] if raised.message else ""
    return f"{raised.type}: {first}" if first else raised.type


def errors_of(errors: Iterable[Sequence[str]], *words: str) -> list[str]:
    """Return the different errors that have one of ``words`` in them."""
    return list(dict.fromkeys(error for each in errors for error in each if any(word in error for word in words)))


def _end(location: Location) -> tuple[int, int]:
    return (location.end_line, location.end_column)


def _size(location: Location) -> tuple[int, int]:
    return (location.end_line - location.line, location.end_column - location.column)
