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


def solve(
    nodes: Sequence[Node], entry: S, transfer: Transfer[S], *, budget: int, ends_only: bool = False
) -> Solution[S] | None:
    """Find the least fixpoint from ``entry``; None if that needs more than ``budget`` block visits.

    With ``ends_only`` the solution holds what is before the blocks that lead nowhere; other states are used up.
    """
    solution: Solution[S] = Solution(len(nodes))
    before = solution.before
    before[0] = entry
    queue, queued = [0], {0}
    once = passed_once(nodes) if ends_only else [False] * len(nodes)

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
        if once[index]:
            before[index] = None
        else:
            state = state.copy()
        pad = node.pad
        after = transfer(index, state, lambda raised, pad=pad: None if pad is None else flow(raised, pad))  # type: ignore[misc]
        if after is not None and node.successors:
            *others, last = node.successors
            for successor in others:
                flow(after, successor)
            flow(after, last, owned=True)
    return solution


def passed_once(nodes: Sequence[Node]) -> list[bool]:
    """The blocks that lead on and lie on no cycle: all that comes before one of them is solved when its turn comes."""
    targets = [node.successors if node.pad is None else [*node.successors, node.pad] for node in nodes]
    furthest = list(range(len(nodes)))
    for index, found in enumerate(targets):
        for target in found:
            furthest[target] = max(furthest[target], index)
    once, end = [], -1
    for index, found in enumerate(targets):
        end = max(end, furthest[index] if furthest[index] > index or index in found else -1)
        once.append(index > end and bool(found))
    return once
