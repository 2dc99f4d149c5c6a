"""By which calls a grad mode comes to be in force: the shortest chain, from where the mode is decided."""

from __future__ import annotations

from gradlint.domains import grad_mode
from gradlint.linking.call_graph import CallGraph, Edge, in_order, inside

LONGEST = 5
"""The most calls of a chain that are told."""


class Chains:
    """The shortest chains to all functions; of several of one length, the first by file and place of each call."""

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph
        self._decorated = {name: inside(one, grad_mode.INHERITED) for name, one in graph.functions.items()}
        self._last: dict[int, dict[str, Edge]] = {}
        """For each single mode, by function: the last call of the shortest chain by which it is entered in it."""
        self._lengths: dict[int, dict[str, int]] = {}
        for mode in grad_mode.NAMES:
            self._search(mode)

    def to(self, edge: Edge, mode: int) -> list[Edge]:
        """The calls by which ``mode`` comes to be in force at the call ``edge``, nearest first."""
        chain = [edge]
        while len(chain) < LONGEST and not self._decides(chain[-1], mode):
            chain.append(self._last[mode][chain[-1].caller])
        return chain

    def length(self, edge: Edge, mode: int) -> int:
        """How many calls the chain to ``edge`` has."""
        return 1 if self._decides(edge, mode) else 1 + self._lengths[mode][edge.caller]

    def _search(self, mode: int) -> None:
        graph = self.graph
        last, lengths = self._last.setdefault(mode, {}), self._lengths.setdefault(mode, {})
        entering = [edge for edge in graph.edges if graph.modes(edge) & mode and self._enters(edge)]
        calls = [edge for edge in entering if self._decides(edge, mode)]
        length = 0
        while calls:
            length += 1
            ends = dict[str, Edge]()
            for edge in in_order(calls) if length > 1 else calls:
                ends.setdefault(edge.callee, edge)
            last |= ends
            lengths |= dict.fromkeys(ends, length)
            calls = [
                edge
                for caller in ends
                for edge in graph.outgoing[caller]
                if edge.callee not in last and graph.modes(edge) & mode and self._enters(edge)
            ]

    def _enters(self, edge: Edge) -> bool:
        """Whether a call is one of those that say how its callee is entered."""
        return self.graph.is_sure(edge) or edge.callee not in self.graph.certain

    def _decides(self, edge: Edge, mode: int) -> bool:
        """Whether ``mode`` is in force at a call because the caller sets it, or is called by nobody in sight."""
        if mode == grad_mode.INHERITED:
            return edge.caller in self.graph.unknown
        given = edge.call.modes
        return bool(given & mode or (given & grad_mode.INHERITED and self._decorated[edge.caller] & mode))
