"""Edits of suppression comments."""

from __future__ import annotations

import re

from gradlint.finding import Edit, Fix, Location, Safety
from gradlint.fix.source import Source
from gradlint.source.suppressions import Suppression

_LISTED = re.compile(r"\[([^\]]*)\]")


def without(text: str, comment: Suppression, idle: list[str]) -> tuple[Fix, ...]:
    """Return the fix that takes the rules ``idle``, as written there, out of a comment in the file ``text``.

    There is none for a shared ``noqa``: other linters may think differently of it.
    """
    if comment.is_noqa:
        return ()
    source, place = Source(text), comment.location
    if len(idle) == len(comment.codes or ()):
        return (Fix(Safety.SAFE, "remove the comment", (_removed(source, place),)),)
    kept = [each for each in comment.codes or () if each not in idle]
    return (Fix(Safety.SAFE, f"remove {', '.join(idle)}", (_listing(source, place, kept),)),)


def _removed(source: Source, place: Location) -> Edit:
    """Take the comment away, and its line if nothing else stands there."""
    line = source.line(place.line)
    before, behind = line[: place.column - 1].rstrip(), line[place.end_column - 1 :]
    if before or behind.strip():
        return Edit(Location(place.line, len(before) + 1, place.line, place.end_column), "")
    return source.delete_lines(place.line, place.line)


def _listing(source: Source, place: Location, kept: list[str]) -> Edit:
    """Name only the rules ``kept``."""
    listed = _LISTED.search(source.line(place.line), place.column - 1)
    assert listed is not None, "a suppression of this form lists its rules"
    return Edit(Location(place.line, listed.start(1) + 1, place.line, listed.end(1) + 1), ", ".join(kept))
