"""What a file looked at of what it was told: as long as that stays, looking at the file again would find the same."""

from __future__ import annotations

from typing import Literal, TypeAlias

from gradlint.linking.interface import Function, View

Table: TypeAlias = Literal["aliases", "values", "functions", "details", "classes", "callers"]
Reads: TypeAlias = frozenset[tuple[Table, str]]
"""Entries of a `View` that were looked at, whether they were there or not. Of a function there are two: ``functions``
is how it is called (`head`), ``details`` all that it tells.
"""


def is_news(before: View, now: View, reads: Reads) -> bool:
    """Whether ``now`` says anything else than ``before`` of what was looked at.

    What is said of the file's own functions (``asked``, ``deciding``, ``overrides``) decides what is looked at, and
    always counts.
    """
    if (before.asked, before.deciding, before.overrides) != (now.asked, now.deciding, now.overrides):
        return True
    return any(entry(before, table, name) != entry(now, table, name) for table, name in reads)


def entry(view: View, table: Table, name: str) -> object:
    """One entry of a view; None if it is not there."""
    if table == "functions":
        function = view.functions.get(name)
        return head(function) if function is not None else None
    entries: dict[str, object] = getattr(view, "functions" if table == "details" else table)
    return entries.get(name)


def head(function: Function) -> tuple[object, ...]:
    """What is known of a function before it is called."""
    return (
        function.parameters,
        function.is_async,
        function.is_generator,
        function.abstract,
        function.wrappers,
        function.marks,
        function.callbacks,
    )
