"""Which blocks of a graph stand on which paths from its entry."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradlint.ir.cfg import Graph


def dominators_of(graph: Graph, target: int) -> set[int]:
    """The blocks on every path from the entry to ``target``; all of them if there is none."""
    everything = (1 << len(graph.blocks)) - 1
    above = dict.fromkeys(range(len(graph.blocks)), everything)
    above[0] = 1
    pending = deque((0,))
    while pending:
        index = pending.popleft()
        for successor in graph.blocks[index].successors:
            known = above[successor] & (above[index] | 1 << successor)
            if known != above[successor]:
                above[successor] = known
                pending.append(successor)
    return {index for index in above if above[target] >> index & 1}


def reaches(graph: Graph, target: int, without: int) -> bool:
    """Whether a path leads from the entry to ``target`` that avoids the block ``without``."""
    if without == 0:
        return False
    pending, seen = [0], {0, without}
    while pending:
        index = pending.pop()
        if index == target:
            return True
        for successor in graph.blocks[index].successors:
            if successor not in seen:
                seen.add(successor)
                pending.append(successor)
    return False
