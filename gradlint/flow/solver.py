"""A forward worklist solver over the blocks of one body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Generic, Protocol

from gradlint.flow.lattice import S


class Node(Protocol):
    """A block as the solver sees it: blocks are numbered in reverse post-order, the entry is 0."""

    successors: list[int]
    pad: int | None


Transfer = Callable[[int, S, Callable[[S], None]], "S | None"]
"""Runs block ``index`` on a state it may change and returns the state behind it, or None if nothing goes on.
The third argument takes the state that an exception carries to the block's landing pad."""


class Solution(Generic[S]):
    """The state before each block: None for a block that no execution reaches."""

    def __init__(self, size: int) -> None:
        self.before: list[S | None] = [None] * size
        self.visits = 0


def solve(nodes: Sequence[Node], entry: S, transfer: Transfer[S], *, budget: int) -> Solution[S] | None:
    """Find the least fixpoint from ``entry``; None if that needs more than ``budget`` block visits."""
    solution: Solution[S] = Solution(len(nodes))
    before = solution.before
    before[0] = entry
    queue, queued = [0], {0}

    def flow(state: S, target: int, owned: bool = False) -> None:
        known = before[target]
        if known is None:
            before[target] = state if owned else state.copy()
        elif not known.join(state):
            return
        if target not in queued:
            queued.add(target)
            heappush(queue, target)

    while queue:
        index = heappop(queue)
        queued.discard(index)
        solution.visits += 1
        if solution.visits > budget:
            return None
        node, state = nodes[index], before[index]
        assert state is not None
        pad = node.pad
        after = transfer(index, state.copy(), lambda raised, pad=pad: None if pad is None else flow(raised, pad))  # type: ignore[misc]
        if after is not None and node.successors:
            *others, last = node.successors
            for successor in others:
                flow(after, successor)
            flow(after, last, owned=True)
    return solution
