"""All tensors that are saved for backward right now, and what was written to them since.

Saved tensors are kept by storage, so that a write finds those it may hit at once. Which of them it does hit, and
whether their values change, is looked at only then: almost no write meets a saved tensor in a healthy program.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import torch

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Edit
from gradlint.runtime.watch.held import EditTally, Exposure, Handle, Held, Part, Source, Write
from gradlint.runtime.watch.values import Values, differs, geometry, reach, remember, unseen

_EXPOSED_LIMIT = 1024
_UNSEEN = "<unseen>"

Hit = tuple[Part, "Values | None", bool]
"""A part that is about to be written, its values if they are to be compared, and whether they are known to change."""


class LiveSaved:
    """Knows the saved tensors of a recording. The watchers of saved tensors and of writes share one."""

    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self.exposed: dict[int, Exposure] = {}
        self.active = False
        self._edits: dict[tuple[Source, Spot | None], EditTally] = {}
        self._callers: dict[Source, tuple[Spot, ...]] = {}
        self._clock = 0
        self._lock = threading.RLock()

    def expose(self, tensor: torch.Tensor, spot: Spot | None, operation: str = "numpy") -> None:
        """Take note that code outside of torch can write to ``tensor`` from now on, by ``operation`` at ``spot``.

        Dispatch never sees such writes, so that the values of what is saved of this storage are compared instead.
        """
        with unseen(), self._lock:
            key = storage_of(tensor)
            if key is None:
                return
            held = self.held.get(key)
            parts = self._join(held) if held is not None else []
            for part in parts:
                self._compare(part)
            if len(self.exposed) >= _EXPOSED_LIMIT:
                self.exposed = {other: seen for other, seen in self.exposed.items() if not seen.storage.expired()}
            exposure = self.exposed[key] = Exposure(tensor.untyped_storage(), (spot, operation))
            for part in parts:
                self._begin_to_compare(part, exposure)

    def replaced(self, tensor: torch.Tensor, value: torch.Tensor, spot: Spot | None) -> None:
        """Take note that ``tensor.data = value`` is about to run.

        Torch keeps a saved input itself, so that backward then reads the new values, and no version counter moves.
        """
        with unseen(), self._lock:
            held = self.held.get(storage_of(tensor) or 0)
            if held is None:
                return
            hit = [identity for identity, (saved, _, _) in held.saved.copy().items() if saved is tensor]
            # A move to another device leaves the values as they are.
            before = remember(tensor) if hit and value.device == tensor.device else None
            if before is None or not differs(value, before):
                return
            self._join(held)
            part = Part(tensor)
            for identity in hit:
                self.leave(held, identity)
                held.joined[identity] = part, self._clock
                part.saved[identity] = held.saved[identity]
            part.keep(before)
            self._count_silent(part, (spot, "data"))

    def meet_exposed(self, held: Held) -> None:
        """Begin to compare the values of what has just been saved of an exposed storage."""
        with unseen(), self._lock:
            self._join(held)

    def touched(self, tensors: Iterable[torch.Tensor]) -> tuple[list[Part], list[Held]]:
        """Return the parts that an operation may change if it writes to ``tensors``; called `unseen`.

        Also returns the storages of which it changes something else.
        """
        found: list[Part] = []
        missed: list[Held] = []
        for tensor in tensors:
            held = self.held.get(storage_of(tensor) or 0)
            if held is not None:
                start, end = reach(geometry(tensor))
                with self._lock:
                    hit = [part for part in self._join(held) if part.reach[0] < end and start < part.reach[1]]
                found += hit
                if not hit:
                    missed.append(held)
        return found, missed

    def misses(self, missed: list[Held], source: Source, callers: tuple[Spot, ...]) -> None:
        """Take note of a write that changes something else in these storages."""
        with self._lock:
            self._clock += 1
            self._callers.setdefault(source, callers)
            for held in missed:
                held.missed = source, self._clock

    def before_write(self, parts: list[Part], source: Source) -> list[Hit]:
        """Return what is to be compared after the write of ``source`` to ``parts``; called `unseen`."""
        hits: list[Hit] = []
        with self._lock:
            for part in parts:
                part.settle()
                self._compare(part)
                last = part.writes.get(source)
                # All of this part's tensors are known to be edited from there: one more time tells nothing new.
                again = last is not None and last.changed and last.when > part.newest
                hits.append((part, None if again else remember(part.alias), again))
        return hits

    def after_write(self, hits: list[Hit], source: Source, callers: tuple[Spot, ...]) -> None:
        """Take note of what the write of ``source`` changed; called `unseen`."""
        with self._lock:
            self._clock += 1
            counted: set[Spot | None] = set()
            for part, before, again in hits:
                changed = again or (before is not None and differs(part.alias, before))
                write = part.writes[source] = Write(self._clock, changed)
                spots = [spot for spot in part.spots() if spot not in counted] if changed else []
                self._callers.setdefault(source, callers)
                part.pending = write, [self._edit(source, saved) for saved in spots]
                counted.update(spots)
                if changed and before is not None:
                    part.keep(before)
                if part.values is not None:
                    part.values = remember(part.alias)

    def use(self, handle: Handle) -> None:
        """A backward reads ``handle``, and torch finds nothing wrong with it."""
        part, since = self._part(handle)
        if part is None:
            return
        with unseen(), self._lock:
            part.settle()
            self._compare(part)
            before = part.before.get(id(handle))
            if before is None or not differs(handle.tensor, before):
                return
            for source, write in part.writes.copy().items():
                if write.when > since and write.changed:
                    self._edit(source, handle.spot).use(True)

    def fail(self, handle: Handle) -> None:
        """A backward reads ``handle``, and its version has moved: torch raises."""
        if not self.active:
            return
        part, since = self._part(handle)
        with unseen(), self._lock:
            found: list[Source] = []
            if part is not None:
                part.settle()
                writes = part.writes.copy().items()
                found = [source for source, write in writes if write.when > since and not write.silent]
            if not found and handle.held is not None and handle.held.missed is not None:
                found = [source for source, when in [handle.held.missed] if when > since]
            for source in found or [(None, _UNSEEN)]:
                edit = self._edit(source, handle.spot)
                edit.use(False)
                edit.count[False] = max(1, edit.count[False])

    def leave(self, held: Held, identity: int) -> None:
        """Take a tensor out of its part."""
        with self._lock:
            part, _ = held.joined.pop(identity, (None, 0))
            if part is None:
                return
            if part.pending is not None:
                with unseen():
                    part.settle()
            part.saved.pop(identity, None)
            part.before.pop(identity, None)
            if not part.saved:
                held.parts = {key: other for key, other in held.parts.items() if other is not part}

    def finish(self) -> None:
        """Decide what is still open when the recording ends."""
        self.active = False
        with unseen(), self._lock:
            for held in list(self.held.values()):
                for part in list(held.parts.values()):
                    part.settle()
                    self._compare(part)

    def edits(self, frames: Frames) -> tuple[Edit, ...]:
        """Return the rows."""
        place = frames.place
        return tuple(
            Edit(
                place(spot),
                edit.count[silent],
                operation,
                place(saved),
                silent,
                edit.used[silent],
                tuple(map(place, edit.callers)),
            )
            for ((spot, operation), saved), edit in self._edits.items()
            for silent in (True, False)
            if edit.count[silent]
        )

    def _part(self, handle: Handle) -> tuple[Part | None, int]:
        held = handle.held
        return held.joined.get(id(handle), (None, 0)) if held is not None and self.active else (None, 0)

    def _join(self, held: Held) -> list[Part]:
        """Put every tensor of ``held`` into its part, and return the parts."""
        if not held.joined:
            held.joined, held.parts = {}, {}
        exposure = self.exposed.get(held.key) if self.exposed else None
        for identity in [identity for identity in list(held.saved) if identity not in held.joined]:
            saving = held.saved[identity]
            shape = geometry(saving[0])
            part = held.parts.get(shape)
            if part is None:
                part = held.parts[shape] = Part(saving[0])
            else:
                self._compare(part)
            held.joined[identity] = part, self._clock
            part.newest = self._clock
            part.saved[identity] = saving
            if exposure is not None:
                self._begin_to_compare(part, exposure)
        return list(held.parts.values())

    def _begin_to_compare(self, part: Part, exposure: Exposure) -> None:
        part.exposure = exposure
        part.values = remember(part.alias)
        if part.values is not None:
            part.keep(part.values)

    def _compare(self, part: Part) -> None:
        """Look whether an exposed part was written past torch."""
        if part.exposure is not None and part.values is not None and differs(part.alias, part.values):
            self._count_silent(part, part.exposure.source)
            part.values = remember(part.alias)

    def _count_silent(self, part: Part, source: Source) -> None:
        self._clock += 1
        part.writes[source] = Write(self._clock, True, True)
        for saved in part.spots():
            self._edit(source, saved).count[True] += 1

    def _edit(self, source: Source, saved: Spot | None) -> EditTally:
        edit = self._edits.get((source, saved))
        if edit is None:
            edit = self._edits[source, saved] = EditTally(self._callers.get(source, ()))
        return edit


def storage_of(tensor: torch.Tensor) -> int | None:
    """Return the identity of the storage of ``tensor``; None for layouts that have none."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None
