"""Where values that depend on parameters leave the graph, and which of them enter a loss all the same.

A value that was cut off is remembered while it lives, and so is everything computed from it (level 2). When such a
value meets the graph again, the node that is made there carries the cut in its ``metadata``; a backward that comes
by the node shows that the cut value has taken part. If it comes by the source of the cut too, a part of the gradient
that goes there is missing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Cut, Recording, Way
from gradlint.runtime.watch.names import Names
from gradlint.runtime.watch.walk import leaf_of, leaves_behind, nodes_behind

# Looking behind a value costs a walk over its graph: the first few times at each place tell enough.
_LOOKS = 3
_KEY, _SOURCE = "gradlint cuts", "gradlint sources of cuts"


class Tally:
    """The counts of one row; ``leaves`` are the identities of the parameters behind it."""

    __slots__ = ("count", "entered", "escaped", "leaves", "partial", "settled", "uncut")

    def __init__(self) -> None:
        self.leaves: set[int] = set()
        # Those of them that were cut off themselves, and not what was computed from them.
        self.uncut: set[int] = set()
        self.count = self.entered = self.escaped = self.settled = 0
        self.partial = False


class CutWatch:
    """Counts cuts, and follows the values that were cut off."""

    def __init__(self, frames: Frames, names: Names, follows: bool) -> None:
        self._frames = frames
        self._names = names
        self._follows = follows
        self._tallies: dict[tuple[Spot | None, Way, str, Spot | None], Tally] = {}
        self._waiting = 0
        self.values: dict[int, frozenset[Tally]] = {}
        """The live tensors that were cut off, or computed from such, by identity."""
        self._references: dict[int, weakref.ref[torch.Tensor]] = {}

    def start(self) -> None:
        """Nothing is put in the way: others tell of cuts."""

    def stop(self) -> None:
        """Let go of the values that were followed."""
        self.values.clear()
        self._references.clear()

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        place = self._frames.place
        recording.cuts = tuple(
            Cut(
                place(spot),
                tally.count,
                way,
                operation,
                self._names.sorted(tally.leaves),
                place(switched) if switched else None,
                tally.partial,
                tally.entered if self._follows else None,
                tally.escaped,
            )
            for (spot, way, operation, switched), tally in self._tallies.items()
            if tally.leaves
        )

    def cut(self, spot: Spot | None, way: Way, operation: str, sources: Iterable[torch.Tensor], result: object) -> None:
        """Note that ``operation`` made ``result`` out of ``sources`` without a graph between them."""
        tally = self._tally(spot, way, operation, None)
        self._look(tally, sources)
        if way in (Way.ITEM, Way.NUMPY):
            tally.escaped += 1
        elif self._follows and isinstance(result, torch.Tensor):
            self._remember(result, frozenset((tally,)))

    def untracked(
        self, spot: Spot | None, operation: str, switched: Spot | None, sources: Sequence[Any], result: object
    ) -> None:
        """Note that ``operation`` ran with gradients off on ``sources``, some of which require grad."""
        tally = self._tally(spot, Way.MODE, operation, switched)
        self._look(tally, [each for each in sources if isinstance(each, torch.Tensor) and each.requires_grad])
        if self._follows and isinstance(result, torch.Tensor):
            self._remember(result, frozenset((tally,)))

    def module(self, module: nn.Module, spot: Spot | None, switched: Spot | None) -> None:
        """Note that a module with trainable parameters was called with gradients off."""
        if self._follows:
            return  # its operations are seen one by one
        tally = self._tally(spot, Way.MODE, type(module).__name__, switched)
        if tally.count <= _LOOKS:
            tally.leaves |= {id(parameter) for parameter in module.parameters() if parameter.requires_grad}

    def frozen(self, spot: Spot | None, operation: str, parameter: torch.Tensor) -> None:
        """Note that ``parameter`` was frozen in the middle of a forward."""
        self._tally(spot, Way.FREEZE, operation, None).leaves.add(id(parameter))

    def derived(self, cuts: frozenset[Tally], result: object) -> None:
        """Note that ``result`` was computed from values with these cuts."""
        if not isinstance(result, torch.Tensor) or not (result.is_floating_point() or result.is_complex()):
            return  # an index or a mask has no gradient anyway
        node = result.grad_fn
        if node is None:
            self._remember(result, cuts)
        elif any(cut.settled < _LOOKS for cut in cuts):
            node.metadata[_KEY, id(self)] = cuts
            self._waiting += 1

    @staticmethod
    def escaped(cuts: frozenset[Tally]) -> None:
        """Note that a value with these cuts became a number or an array, which nobody follows."""
        for cut in cuts:
            cut.escaped += 1

    def settle(self, roots: Sequence[torch.Tensor]) -> None:
        """Look, before a backward from ``roots``, which cuts have entered it."""
        if not self._waiting:
            return
        self._waiting = 0
        cuts, sources, leaves = self._reached([root.grad_fn for root in roots if root.grad_fn is not None])
        for cut in cuts:
            cut.settled += 1
            cut.entered += 1
            # A state that an earlier backward has gone through is cut off for good: it must not be passed again.
            cut.partial = cut.partial or cut in sources or bool(cut.uncut & leaves)

    def _look(self, tally: Tally, sources: Iterable[torch.Tensor]) -> None:
        """Find out what lies behind the ``sources`` of a cut, and mark where they stand in the graph."""
        if tally.count > _LOOKS:
            return
        for source in sources:
            tally.leaves |= leaves_behind(source)
            node = source.grad_fn
            if node is None:
                tally.uncut.add(id(source))
            elif self._follows:
                node.metadata.setdefault((_SOURCE, id(self)), set()).add(tally)

    def _reached(self, nodes: list[Any]) -> tuple[set[Tally], set[Tally], set[int]]:
        """Return what a backward from ``nodes`` comes by: values with cuts, sources of cuts, and leaves."""
        cuts: set[Tally] = set()
        sources: set[Tally] = set()
        leaves: set[int] = set()
        for node in nodes_behind(nodes):
            metadata = node.metadata
            cuts |= metadata.get((_KEY, id(self)), frozenset())
            sources |= metadata.get((_SOURCE, id(self)), frozenset())
            leaf = leaf_of(node)
            if leaf is not None:
                leaves.add(leaf)
        return cuts, sources, leaves

    def _tally(self, spot: Spot | None, way: Way, operation: str, switched: Spot | None) -> Tally:
        key = (spot, way, operation, switched)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        tally.count += 1
        return tally

    def _remember(self, tensor: torch.Tensor, cuts: frozenset[Tally]) -> None:
        identity = id(tensor)
        if identity in self.values:
            self.values[identity] |= cuts
            return
        values, references = self.values, self._references

        def forget(_: object) -> None:
            values.pop(identity, None)
            references.pop(identity, None)

        values[identity] = cuts
        references[identity] = weakref.ref(tensor, forget)
