"""The product of all domains: what may be true at one point of a body."""

from __future__ import annotations

from typing import TypeVar

from gradlint.domains.tensor import NEW_LEAF, UNPLACED, Place, Saved, join_places
from gradlint.domains.values import EVERYTHING, PARAMETER, Atom, Obj, Value, bounded
from gradlint.flow.lattice import join_masks
from gradlint.ir.events import Span

K = TypeVar("K")

EVAL, TRAIN, FROZEN, THAWED = 1, 2, 4, 8
"""Marks of a module: the mode it was put in, and whether its parameters were frozen."""

LAYER = 64
"""Mark of something unknown: the program has asked whether it is a layer with a weight, and it is."""

UNTOUCHED = 32
"""Mark of a module: on some path its mode was never set here, so that it has whatever mode it had before."""

SWALLOWS = 16
"""Mark of an `ExitStack`: something was pushed on it that may swallow an exception."""


class State:
    """One element of the product lattice.

    ``modes``: the grad modes that may be in force. ``held``: for each with-item that is active and may restore the
    mode, what it restores. ``kept``: for each that may instead leave the mode alone (``no_grad() if flag else
    nullcontext()``, an empty `ExitStack`), the modes that are then in force behind it. ``env``: variables.
    ``attributes``: attributes written in this body. ``places``: where objects stand on the graph. ``contents``:
    what containers hold. ``marks``: modules and stacks. ``since`` is evidence: where a mode was
    set; it is replaced as a whole and never changed.
    """

    __slots__ = ("attributes", "contents", "env", "held", "kept", "marks", "modes", "places", "since")

    def __init__(self, modes: int) -> None:
        self.modes = modes
        self.held: dict[int, int] = {}
        self.kept: dict[int, int] = {}
        self.env: dict[str, Value] = {}
        self.attributes: dict[tuple[Atom, str], Value] = {}
        self.places: dict[Atom, Place] = {}
        self.contents: dict[Atom, Value] = {}
        self.marks: dict[Atom, int] = {}
        self.since: dict[int, Span] = {}

    def copy(self) -> State:
        """An independent copy."""
        other = State.__new__(State)
        other.modes = self.modes
        other.held, other.kept, other.since = self.held.copy(), self.kept.copy(), self.since
        other.env, other.attributes = self.env.copy(), self.attributes.copy()
        other.places, other.contents, other.marks = self.places.copy(), self.contents.copy(), self.marks.copy()
        return other

    def join(self, other: State) -> bool:
        """Become the least upper bound; true if anything but evidence changed."""
        changed = bool(other.modes & ~self.modes)
        self.modes |= other.modes
        # Most maps are equal, for most blocks change little: finding that out is much faster than joining.
        changed |= self.held != other.held and join_masks(self.held, other.held)
        changed |= self.kept != other.kept and join_masks(self.kept, other.kept)
        changed |= self.marks != other.marks and join_marks(self.marks, other.marks)
        changed |= self.env != other.env and join_values(self.env, other.env)
        changed |= self.attributes != other.attributes and join_values(self.attributes, other.attributes)
        changed |= self.contents != other.contents and join_values(self.contents, other.contents)
        changed |= self.places != other.places and join_all_places(self.places, other.places)
        if self.since != other.since:
            self.since = other.since | self.since
        return changed

    def modes_only(self) -> State:
        """What an exception carries out of the body: the modes, and what is needed to restore them."""
        other = State(self.modes)
        other.held, other.kept = self.held.copy(), self.kept.copy()
        other.since = self.since
        return other

    def place(self, atom: Atom) -> Place:
        """Where an object stands on the graph."""
        known = self.places.get(atom)
        if known is None:
            return NEW_LEAF if isinstance(atom, Obj) and atom.type == PARAMETER else UNPLACED
        return known

    def roots(self, atom: Atom) -> frozenset[Atom]:
        """The objects that own the memory of ``atom``: itself, unless it is a view."""
        return self.place(atom).roots or frozenset((atom,))

    def behind(self, atom: Atom) -> frozenset[Atom]:
        """The objects that own the memory of ``atom.data``, where edits are not counted."""
        return self.place(atom).behind or self.roots(atom)

    def keepers(self, root: Atom) -> frozenset[Saved]:
        """The recorded operations that keep the memory of ``root``: for a parameter also calls of what holds it."""
        found, atom = self.place(root).saved, root
        while isinstance(atom, Obj) and atom.owner is not None and (atom is not root or atom.type == PARAMETER):
            atom = atom.owner
            found |= self.place(atom).saved
        return found


def join_marks(into: dict[Atom, int], other: dict[Atom, int]) -> bool:
    """Join the marks of modules; a module that only one path has marked is `UNTOUCHED` on the other."""
    changed = False
    for atom in into.keys() | other.keys():
        old = into.get(atom, UNTOUCHED)
        joined = old | other.get(atom, UNTOUCHED)
        if joined != old or atom not in into:
            into[atom] = joined
            changed = True
    return changed


def join_all_places(into: dict[Atom, Place], other: dict[Atom, Place]) -> bool:
    """Join where objects stand."""
    changed = False
    for atom, place in other.items():
        mine = into.get(atom)
        if mine is place:
            continue
        joined = place if mine is None else join_places(mine, place)
        if joined is not mine:
            into[atom] = joined
            changed = True
    return changed


def join_values(into: dict[K, Value], other: dict[K, Value]) -> bool:
    """Join two maps of values; a set that grows too large becomes everything."""
    changed = False
    for key, value in other.items():
        old = into.get(key)
        if old is value:
            continue
        if old is None:
            into[key] = value
        elif old is EVERYTHING or value <= old:
            continue
        else:
            into[key] = bounded(old | value)
        changed = True
    return changed
