"""What the solver asks of a state.

A state is an element of a join semilattice, kept mutable so that a transfer function can work in place:

* ``a.join(b)`` makes ``a`` the least upper bound of both and tells whether ``a`` changed;
* join is associative, commutative and idempotent, and an element that was never joined is the bottom;
* a chain of joins stops growing after finitely many steps, so a fixpoint exists.

The laws are tested for every domain under Hypothesis. What explains a fact (its evidence) stands outside
equality: a join that changes only evidence reports no change.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Protocol, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class State(Protocol):
    """An element of the product lattice at one point of a program."""

    def copy(self: S) -> S:
        """An independent copy, which a transfer function may change."""
        ...

    def join(self: S, other: S) -> bool:
        """Become the least upper bound of both; true if that changed this state."""
        ...


S = TypeVar("S", bound=State)


def join_maps(into: MutableMapping[K, frozenset[V]], other: Mapping[K, frozenset[V]]) -> bool:
    """Join two maps of finite powersets key by key; a key that is missing stands for the empty set."""
    changed = False
    for key, value in other.items():
        old = into.get(key)
        if old is None:
            into[key] = value
            changed = True
        elif old is not value and not value <= old:
            into[key] = old | value
            changed = True
    return changed


def join_masks(into: MutableMapping[K, int], other: Mapping[K, int]) -> bool:
    """Join two maps of bit sets key by key; a key that is missing stands for the empty set."""
    changed = False
    for key, mask in other.items():
        old = into.get(key, 0)
        if mask & ~old:
            into[key] = old | mask
            changed = True
    return changed
