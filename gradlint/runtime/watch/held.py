"""What is remembered of a tensor that is saved for backward, and of what was written to it since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from gradlint.runtime.frames import Spot
from gradlint.runtime.watch.values import Geometry, Values, geometry, reach

if TYPE_CHECKING:
    from gradlint.runtime.watch.live import LiveSaved

Source = tuple["Spot | None", str]
"""Where it was written, and by which operation."""

Saving = tuple[torch.Tensor, "Spot | None", int]
"""A tensor, where it was saved, and its version then."""


_NOTHING: dict[Any, Any] = {}


class Tally:
    """The bytes that one place saves for backward: in all, now, at the worst moment and at the end."""

    __slots__ = ("alive", "bytes", "count", "peak")

    def __init__(self) -> None:
        self.count = self.bytes = self.alive = self.peak = 0


class Held:
    """The tensors of one storage that are saved for backward.

    ``charges`` say which places account for its bytes, by the first element of the piece that is meant.
    ``charged`` is their sum and ``size`` the most it can be. ``joined`` has those tensors that take part in a `Part`,
    and since when; it is empty, and so is ``parts``, as long as no write has come near. ``missed`` is the last write
    that came near and hit none of them, and when: where they are views of one tensor, torch counts it as an edit.
    """

    __slots__ = ("charged", "charges", "joined", "key", "live", "missed", "parts", "saved", "size")

    def __init__(self, live: LiveSaved, key: int, size: int) -> None:
        self.live = live
        self.key = key
        self.size = size
        self.charged = 0
        self.saved: dict[int, Saving] = {}
        # Few storages ever need all of these, and many are made: the shared dictionary is replaced, never filled.
        self.charges: dict[int, tuple[Tally, int]] = _NOTHING
        self.joined: dict[int, tuple[Part, int]] = _NOTHING
        self.parts: dict[Geometry, Part] = _NOTHING
        self.missed: tuple[Source, int] | None = None


class Handle:
    """What the graph holds in place of a saved tensor.

    ``tensor`` is the tensor itself, or an alias of it without a graph where that would make a cycle; then ``output``
    is its number among the outputs of its node, else -1. ``inner`` tensors had a graph of their own. ``outer`` is the
    handle of the recording around this one.
    """

    __slots__ = ("held", "inner", "outer", "output", "spot", "tensor", "version")

    def __init__(self, tensor: torch.Tensor, version: int, output: int, inner: bool) -> None:
        self.tensor = tensor
        self.version = version
        self.output = output
        self.inner = inner
        self.held: Held | None = None
        self.outer: Handle | None = None
        self.spot: Spot | None = None

    def __del__(self) -> None:
        """Forget the tensor, now that its node has let go of it."""
        held = self.held
        if held is None:
            return
        if held.joined:
            held.live.leave(held, id(self))
        held.saved.pop(id(self), None)
        if not held.saved:
            held.live.held.pop(held.key, None)
            for tally, size in held.charges.values():
                tally.alive -= size


class Write:
    """The last write of one place to a `Part`. ``silent`` is None as long as torch may still notice it."""

    __slots__ = ("changed", "silent", "when")

    def __init__(self, when: int, changed: bool, silent: bool | None = None) -> None:
        self.when = when
        self.changed = changed
        self.silent = silent


class Exposure:
    """A storage was handed to code that writes without torch. The weak reference keeps its identity from reuse."""

    __slots__ = ("source", "storage")

    def __init__(self, storage: torch.UntypedStorage, source: Source) -> None:
        self.storage = StorageWeakRef(storage)
        self.source = source


class Part:
    """The saved tensors of one storage that cover the same part of it, and the writes to it.

    ``saved`` are the tensors, ``newest`` is when the last of them came. ``before`` has their values from before the
    first write that changed them. ``pending`` is a write of which it is not known yet whether torch notices it, and
    the rows that count it. ``exposure`` and ``values`` are set if writes past torch are possible.
    """

    __slots__ = ("alias", "before", "exposure", "newest", "pending", "reach", "saved", "values", "writes")

    def __init__(self, tensor: torch.Tensor) -> None:
        # An alias, or the part would keep the graph of one tensor alive for the sake of the others.
        self.alias = torch.Tensor._make_subclass(torch.Tensor, tensor)
        self.reach = reach(geometry(tensor))
        self.saved: dict[int, Saving] = {}
        self.before: dict[int, Values] = {}
        self.newest = 0
        self.writes: dict[Source, Write] = {}
        self.pending: tuple[Write, list[EditTally]] | None = None
        self.exposure: Exposure | None = None
        self.values: Values | None = None

    def spots(self) -> list[Spot | None]:
        """Return where the tensors were saved, each place once."""
        return list(dict.fromkeys(spot for _, spot, _ in self.saved.copy().values()))

    def keep(self, before: Values) -> None:
        """Keep the values from before a first change, for the tensors that have none yet."""
        for identity in list(self.saved):
            self.before.setdefault(identity, before)

    def settle(self) -> None:
        """Find out whether torch noticed the last write: it may move the version only after the kernel has run.

        Any of the tensors tells. The alias does not, for it has a version counter of its own.
        """
        if self.pending is not None:
            write, edits = self.pending
            self.pending = None
            write.silent = all(tensor._version == version for tensor, _, version in self.saved.copy().values())
            for edit in edits:
                edit.count[write.silent] += 1


class EditTally:
    """How often there was such an edit, and how often a backward used it; ``True`` means that torch did not notice."""

    __slots__ = ("callers", "count", "task", "used")

    def __init__(self, callers: tuple[Spot, ...]) -> None:
        self.callers = callers
        self.count = {True: 0, False: 0}
        self.used = {True: 0, False: 0}
        self.task = -1

    def use(self, silent: bool) -> None:
        """Count a backward, once however many saved tensors it reads."""
        task = torch._C._current_graph_task_id()
        if task != self.task or task < 0:
            self.used[silent] += 1
        self.task = task
