"""The lines of source that reports show with a finding and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from gradlint.finding import Finding, Location
from gradlint.source.positions import Excerpt, Lines


def shown_places(findings: Iterable[Finding]) -> dict[str, set[Location]]:
    """Return by file the places whose lines are shown: those pointed at, and the single lines between two of them."""
    places: dict[str, set[Location]] = {}
    for finding in findings:
        pointed_at = [(finding.path, finding.location), *((step.path, step.location) for step in finding.evidence)]
        for path in {path for path, _ in pointed_at}:
            here = {place for other, place in pointed_at if other == path}
            lines = {place.line for place in here}
            between = {line + 1 for line in lines if line + 2 in lines} - lines
            places.setdefault(path, set()).update(here, (Location(line, 1, line, 1) for line in between))
    return places


def missing(
    findings: Iterable[Finding], known: Container[tuple[str, Location]], text_of: Callable[[str], str | None]
) -> dict[tuple[str, Location], Excerpt]:
    """Return the excerpts that are not ``known`` yet: of files without findings that evidence lies in.

    ``text_of`` returns the text of a file; None, if it cannot be had any more, leaves its lines out.
    """
    found: dict[tuple[str, Location], Excerpt] = {}
    for path, places in shown_places(findings).items():
        new = [place for place in places if (path, place) not in known]
        text = text_of(path) if new else None
        if text is not None:
            lines = Lines(text)
            found.update(((path, place), lines.excerpt(place)) for place in new)
    return found
