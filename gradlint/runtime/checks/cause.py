"""Saying in an error message where in the user's code something went wrong, with the source underlined."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.report.frame import frame
from gradlint.report.sanitise import visible
from gradlint.runtime.place import UNKNOWN, Place, shown_path
from gradlint.source.positions import Excerpt, Lines

SHOWN = 5
"""How many causes one message shows."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One place that is to blame: ``text`` says what happened there, ``because`` names places that led to it."""

    place: Place
    text: str
    because: tuple[tuple[Place, str], ...] = ()


def message(what: str, causes: Sequence[Cause], help_text: str, details: Iterable[str] = ()) -> str:
    """Return an error message: what is wrong, ``details`` one per line, at most `SHOWN` causes, what to do."""
    lines = [what, *(f"  {detail}" for detail in details)]
    for cause in causes[:SHOWN]:
        lines += ["", *_shown(cause)]
    if len(causes) > SHOWN:
        lines += ["", f"and {counted(len(causes) - SHOWN, 'more place')}"]
    return "\n".join([*lines, f"{_indent(causes)}= help: {visible(help_text)}"])


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Return ``names`` as a list for people, cut to ``limit``."""
    shown = [f"`{name}`" for name in names[:limit]]
    if len(names) > limit:
        return f"{', '.join(shown)} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else "nothing"


def counted(count: int, noun: str) -> str:
    """Return ``3 graphs`` or ``1 graph``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shown(cause: Cause) -> Iterator[str]:
    if cause.place.path == UNKNOWN:
        yield f"no line of yours is known for this: {visible(cause.text)}"
        return
    yield f"{visible(str(cause.place))}: {visible(cause.text)}"
    finding = _finding(cause)
    places = [(finding.path, finding.location), *((step.path, step.location) for step in finding.evidence)]
    sources = [cause.place.path, *(place.path for place, _ in cause.because)]
    excerpts = {
        (shown, location): _excerpt(path, location)
        for path, (shown, location) in zip(sources, places, strict=True)
        if linecache.getline(path, location.line)
    }
    for pieces in frame(finding, excerpts):
        yield "".join(text for text, _ in pieces)


def _finding(cause: Cause) -> Finding:
    """Return the cause in the form that code frames are drawn from."""
    evidence = tuple(
        Evidence(shown_path(place.path), _stretch(place), text)
        for place, text in cause.because
        if place.path != UNKNOWN
    )
    place = cause.place
    path, location = shown_path(place.path), _stretch(place)
    return Finding("", "", Severity.ERROR, Certainty.CERTAIN, path, location, "", "", evidence)


def _stretch(place: Place) -> Location:
    """Return the place's location; the whole line where the interpreter knows no columns."""
    if place.has_columns:
        return place.location
    text = linecache.getline(place.path, place.line).rstrip("\n")
    start = len(text) - len(text.lstrip()) + 1
    return Location(place.line, start, place.line, max(start, len(text)) + 1)


def _excerpt(path: str, location: Location) -> Excerpt:
    return Lines("".join(linecache.getlines(path))).excerpt(location)


def _indent(causes: Sequence[Cause]) -> str:
    """Return what puts the help line under the frames, as in the linter's reports."""
    numbers = [place.line for cause in causes[:SHOWN] for place in (cause.place, *(at for at, _ in cause.because))]
    return " " * (max((len(str(number)) for number in numbers), default=0) + 2)
