"""What gradlint reports: one `Finding` per mistake, with the evidence that led to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Severity(str, Enum):
    """How bad it is when the finding is right."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Certainty(str, Enum):
    """How sure gradlint is. ``possible`` is hidden unless asked for."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"

    @property
    def rank(self) -> int:
        """0 for certain, 2 for possible."""
        return list(Certainty).index(self)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A stretch of a file: lines and columns from 1, columns in characters, the end column just behind."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """One step of the reason: where, and in words (``gradients off here``)."""

    path: str
    location: Location
    text: str


class Safety(str, Enum):
    """Whether a fix may be applied unasked: ``safe`` means that the code behaves as it says, or failed before."""

    SAFE = "safe"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Plain text that replaces a stretch of the file; an empty stretch is a place to insert it at.

    A line feed in ``text`` stands for whatever ends the lines of the file.
    """

    location: Location
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A way to mend a mistake: all of ``edits``, or none. ``title`` says what they do, as a command."""

    safety: Safety
    title: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake. ``message`` says what, ``evidence`` why, ``help`` what to do, ``fixes`` do it, the best first."""

    code: str
    name: str
    severity: Severity
    certainty: Certainty
    path: str
    location: Location
    message: str
    help: str
    evidence: tuple[Evidence, ...] = field(default=())
    fixes: tuple[Fix, ...] = field(default=())

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Findings are shown by path, position, code and words, whatever order they were found in."""
        return (self.path, self.location.line, self.location.column, self.code, self.message)
