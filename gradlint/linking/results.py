"""What becomes of what a function returns, behind the callers of its callers too."""

from __future__ import annotations

from collections import deque

from gradlint.linking.call_graph import CallGraph, Edge

RETURNED, YIELDED = "returned", "yielded"
"""The uses of a result that leave it to the callers of the caller (`gradlint.project.values.uses`)."""
HANDED_ON = frozenset((RETURNED, YIELDED))


class Results:
    """The smallest solution, as bits of `words`; calls that are not sure count too, or are left out if ``sure``.

    A function without callers that count leaves what it returns to somebody out of sight.
    """

    def __init__(self, graph: CallGraph, words: Words, *, sure: bool) -> None:
        self.graph = graph
        self.words = words
        self._ends = graph.unknown if sure else graph.origins
        self._handed_on = words.bits(HANDED_ON)
        self._found = dict.fromkeys(graph.functions, 0)
        self._solve([edge for edge in graph.edges if graph.is_sure(edge)] if sure else graph.edges)

    def uses(self, edge: Edge) -> int:
        """What becomes of the result of one call."""
        uses = self.words.bits(edge.call.uses)
        if not uses & self._handed_on:
            return uses
        further = self._found[edge.caller]
        return uses | further if edge.caller in self._ends else (uses & ~self._handed_on) | further

    def _solve(self, edges: list[Edge]) -> None:
        found = self._found
        further: dict[str, list[str]] = {}
        for edge in edges:
            found[edge.callee] |= self.uses(edge)
            if edge.call.uses & HANDED_ON:
                further.setdefault(edge.caller, []).append(edge.callee)
        pending = deque(further)
        while pending:
            caller = pending.popleft()
            uses = found[caller]
            for callee in further.get(caller, ()):
                if uses & ~found[callee]:
                    found[callee] |= uses
                    pending.append(callee)


class Words:
    """Sets of words as bit sets, whose union is much faster."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._bits: dict[frozenset[str], int] = {}

    def bits(self, words: frozenset[str]) -> int:
        """The bit set of some words."""
        known = self._bits.get(words)
        if known is None:
            self._words += sorted(words.difference(self._words))
            known = self._bits[words] = sum(1 << self._words.index(word) for word in words)
        return known

    def of(self, bits: int) -> frozenset[str]:
        """The words in a bit set."""
        return frozenset(word for index, word in enumerate(self._words) if bits >> index & 1)
