"""Several ways to mend one mistake."""

from __future__ import annotations

from collections.abc import Callable

from gradlint.finding import Edit, Fix, Safety
from gradlint.fix.source import NoFix

Way = tuple[str, Callable[[], tuple[Edit, ...]]]
"""What a fix does, in words, and what makes its edits or raises `NoFix`."""


def first(safety: Safety, *ways: Way) -> Fix:
    """Return the fix of the first of ``ways`` that is possible. Raises `NoFix` if none is."""
    for title, edits in ways:
        try:
            return Fix(safety, title, edits())
        except NoFix:
            continue
    raise NoFix("no way is possible")
