"""Which files are looked at again first: those that others are told of, who are told more when these are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gradlint.linking.lookup import path_of

if TYPE_CHECKING:
    from gradlint.linking.call_graph import CallGraph
    from gradlint.linking.interface import View


def leads(graph: CallGraph, views: Mapping[str, View]) -> dict[str, set[str]]:
    """Return by file the others that it is told of, or would be if more were known of them."""
    found = {path: {*map(path_of, _told_of(view))} - {"", path} for path, view in views.items()}
    for edge in graph.edges:
        if edge.call.matters and edge.sure:
            caller, callee = path_of(edge.caller), path_of(edge.callee)
            if caller != callee:
                found.setdefault(caller, set()).add(callee)
    return found


def first(changed: Iterable[str], leads: Mapping[str, Iterable[str]]) -> set[str]:
    """Return those of the files ``changed`` that lead to no other of them which does not lead back."""
    pending = set(changed)
    reached = {path: _reached(path, leads) & pending for path in pending}
    return {path for path in pending if all(path in reached[other] for other in reached[path])}


def _told_of(view: View) -> Iterator[str]:
    yield from view.functions
    yield from view.classes
    for replacing in view.overrides.values():
        yield from replacing


def _reached(start: str, leads: Mapping[str, Iterable[str]]) -> set[str]:
    found = {start}
    pending = [start]
    while pending:
        new = set(leads.get(pending.pop(), ())) - found
        found |= new
        pending += new
    return found
