"""Asking rules for the fixes of what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gradlint.finding import Fix
from gradlint.fix.source import NoFix, Source

if TYPE_CHECKING:
    from gradlint.rule import Draft


def fixes(
    drafts: Iterable[Draft | None], text: str, on_crash: Callable[[Draft, Exception], None]
) -> list[tuple[Fix, ...]]:
    """Return the fixes for each of ``drafts``, which are about the file ``text``.

    What raises while it writes one has none; ``on_crash`` is told of it.
    """
    source = Source(text)
    return [_fixes(draft, source, on_crash) for draft in drafts]


def _fixes(draft: Draft | None, source: Source, on_crash: Callable[[Draft, Exception], None]) -> tuple[Fix, ...]:
    if draft is None or draft.fact is None:
        return ()
    try:
        fix = draft.rule.fix(draft.fact, source)
    except NoFix:
        return ()
    except Exception as error:
        on_crash(draft, error)
        return ()
    return (fix,) if fix is not None and fix.edits else ()
