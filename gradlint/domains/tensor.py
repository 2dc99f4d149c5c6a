"""How a value hangs on the autograd graph.

The element for one object is a bit set of the places it may have, with union as join, plus what was recorded
about its memory. Evidence (``made``, ``off``) explains the element and is no part of it.
"""

from __future__ import annotations

from typing import NamedTuple

from gradlint.domains.values import Atom
from gradlint.ir.events import Span

GRAPH = 1
"""Computed with gradients on from something that requires grad: backward can walk from here."""
LEAF = 2
"""A leaf that requires grad: a parameter, or made with ``requires_grad=True``."""
OFF = 4
"""Computed by torch while gradients were off."""
OFF_CALL = 8
"""Returned by a call that is not torch's while gradients were off: almost surely off as well."""
CUT = 16
"""Taken off the graph on purpose: ``detach``, ``.data``, ``.item()``, ``torch.tensor(t)``."""
PLAIN = 32
"""Never on the graph: made by a factory, a constant."""
ANY = 64
"""Not known."""

ATTACHED = GRAPH | LEAF
NO_GRAPH = OFF | OFF_CALL | CUT | PLAIN


def leaf(trains: bool | None) -> int:
    """Where a tensor stands that was just made and asked to require grad, or not to; None if that is not known."""
    return ANY if trains is None else LEAF if trains else PLAIN


class Saved(NamedTuple):
    """A recorded operation that keeps a tensor's memory for its backward."""

    op: str
    role: str
    span: Span
    result: Atom
    """What the operation returned: its backward runs when a backward reaches this."""
    keeper: Atom | None = None
    """The module that may keep it, where that is all that is known."""
    part: int | None = None
    """Which of several results of the operation is kept; None of those that return a single one."""


class Place(NamedTuple):
    """What is known of one object. ``roots`` are the objects whose memory it shares (itself when empty).

    ``behind`` are those whose memory it shares without their count of edits, which ``data`` and ``numpy`` leave out.
    """

    graph: int = ANY
    saved: frozenset[Saved] = frozenset()
    roots: frozenset[Atom] = frozenset()
    flagged: frozenset[Span] = frozenset()
    """Where ``requires_grad`` was set on it although it had been computed."""
    made: Span | None = None
    off: Span | None = None
    via: str = ""
    """The operation that took it off the graph or made it, for messages."""
    behind: frozenset[Atom] = frozenset()


UNPLACED = Place()
NEW_LEAF = Place(LEAF)


def join_places(a: Place, b: Place) -> Place:
    """The least upper bound; ``a`` itself when ``b`` adds nothing but evidence."""
    if a is b:
        return a
    graph, saved, roots, flagged = a.graph | b.graph, a.saved | b.saved, a.roots | b.roots, a.flagged | b.flagged
    behind = a.behind | b.behind
    if (graph, saved, roots, flagged, behind) == (a.graph, a.saved, a.roots, a.flagged, a.behind):
        return a
    return Place(graph, saved, roots, flagged, a.made or b.made, a.off or b.off, a.via or b.via, behind)


def result_of(operands: list[int]) -> int:
    """The graph place of an operation that records, given the places of its operands.

    With no operand on the graph for certain the answer is as uncertain as the operands are; only if none can be
    on the graph is the result off it too.
    """
    if any(graph and not graph & ~ATTACHED for graph in operands):
        return GRAPH
    joined = 0
    for graph in operands:
        joined |= graph
    if joined & (ATTACHED | ANY):
        return ANY
    return (joined & ~PLAIN) or PLAIN
