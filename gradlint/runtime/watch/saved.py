"""Level 3: the bytes that each place saves for backward, and the reading of what was saved.

Hooks on saved tensors switch off torch's own check of versions, so that unpacking makes it instead. What is kept is
what torch keeps without hooks: inputs and leaves themselves, and of an output an alias without its graph, for the
node that saves its own output must not own it (torch's documentation of ``saved_tensors_hooks`` warns of the cycle).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from gradlint.runtime.frames import USER, Frames, Spot
from gradlint.runtime.recording import Recording, Saved
from gradlint.runtime.watch.held import Handle, Held, Tally
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.originals import being_read, reading
from gradlint.runtime.watch.patches import Patches
from gradlint.runtime.watch.version_error import detached_error, version_error

# Looked up once: `pack` and `unpack` run for every saved tensor.
_autograd: Any = torch._C._autograd
_Tensor = torch.Tensor
_Parameter = nn.Parameter
_alias = torch.Tensor._make_subclass
_next_node = _autograd._get_sequence_nr
_unseen_by_modes = torch._C.DisableTorchFunction
_no_dispatch = torch._C._disabled_torch_dispatch_impl

_Hooks = tuple[Callable[[torch.Tensor], Any], Callable[[Any], torch.Tensor]]


class Owner(Protocol):
    """Whom saved bytes are charged to while it is the `SavedWatch.owner`."""

    bytes: int


class SavedWatch:
    """Sees every tensor that is saved for backward, and every time one is read.

    While ``owner`` is set, its ``bytes`` grow by what is saved. They do not shrink: what a call saved is released by
    the backward that uses its graph, or dies with the graph.
    """

    def __init__(self, frames: Frames, live: LiveSaved) -> None:
        self.owner: Owner | None = None
        self._frames = frames
        self._kinds = frames.kinds
        self._live = live
        self._outer: SavedWatch | None = None
        self._foreign = False
        self._patches = Patches()
        self._tallies: dict[Spot | None, Tally] = {}
        self._alive: dict[Spot | None, int] = {}

    def start(self) -> None:
        """Begin to watch this thread; others have to enter `in_thread`."""
        self._live.active = True
        self._push()
        # Vmap and torch.func refuse to run while there are hooks.
        set_ = self._patches.set
        set_(_autograd, "_saved_tensors_hooks_disable", _taking_off(_autograd._saved_tensors_hooks_disable))
        set_(_autograd, "_saved_tensors_hooks_enable", _putting_back(_autograd._saved_tensors_hooks_enable))
        set_(BackwardCFunction, "saved_tensors", reading(BackwardCFunction.saved_tensors))

    def stop(self) -> None:
        """Stop watching. Graphs that are alive keep their check of versions."""
        self._patches.undo()
        self._pop()
        self._live.finish()
        self._alive = {spot: tally.alive for spot, tally in self._tallies.items()}

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """Watch another thread while the block lasts."""
        self._push()
        try:
            yield
        finally:
            self._pop()

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        place = self._frames.place
        recording.saved = tuple(
            Saved(place(spot), tally.count, tally.bytes, tally.peak, self._alive.get(spot, 0))
            for spot, tally in self._tallies.items()
        )
        if self._foreign:
            recording.notes += ("saved tensors were not watched where the program's own saved_tensors_hooks were on",)

    def pack(self, tensor: torch.Tensor) -> Handle:
        """Return what the graph is to hold in place of ``tensor``."""
        kind = type(tensor)
        # A subclass with a dispatch of its own may have no memory of its own.
        plain = kind is _Tensor or kind is _Parameter or kind.__torch_dispatch__ is _no_dispatch
        with _unseen_by_modes():
            kept, output, inner = tensor, -1, False
            if not tensor.is_leaf:
                inner = True
                node = tensor.grad_fn
                # A node that saves its own output is the newest, except where a custom function has made others since.
                if node._sequence_nr() + 1 >= _next_node() or isinstance(node, BackwardCFunction):
                    output = tensor.output_nr
                    kept = _alias(_Tensor, tensor) if plain else tensor.detach()
            handle = Handle(kept, kept._version, output, inner)
            if self._live.active:
                self._hold(handle, tensor, plain)
        if self._outer is not None:
            handle.outer = self._outer.pack(tensor)
        return handle

    def unpack(self, handle: Handle) -> torch.Tensor:
        """Return what `pack` was given. Raises the `RuntimeError` that torch raises where there are no hooks."""
        tensor = handle.tensor
        with _unseen_by_modes():
            if handle.inner and handle.output < 0 and tensor.is_leaf and _needs_graph():
                raise detached_error()
            if tensor._version != handle.version:
                self._fail(handle)
                raise version_error(handle)
        held = handle.held
        if (held is not None and held.joined) or handle.outer is not None:
            _use(handle)
        if being_read:
            unpacked = being_read.get(threading.get_ident())
            if unpacked is not None:
                unpacked.append(handle)
        return tensor

    def _hold(self, handle: Handle, tensor: torch.Tensor, plain: bool) -> None:
        """Take note of where a tensor is saved, and of its storage if it has one."""
        kinds = self._kinds
        spot = None
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            kind = kinds.get(id(code))
            if (self._frames.kind(code) if kind is None else kind) == USER:
                spot = handle.spot = (id(code), frame.f_lasti)
                break
            frame = frame.f_back
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse and the like
            return
        if not plain:
            return
        live = self._live
        key = storage._cdata
        held = live.held.get(key)
        if held is None:
            size = 0 if _is_parameter(tensor) or tensor.is_meta else storage.nbytes()
            held = live.held[key] = Held(live, key, size)
        handle.held = held
        held.saved[id(handle)] = handle.tensor, spot, handle.version
        if held.charged < held.size:
            self._charge(held, tensor, spot)
        if live.exposed and key in live.exposed:
            live.meet_exposed(held)

    def _charge(self, held: Held, tensor: torch.Tensor, spot: Spot | None) -> None:
        """Count the bytes of a storage once, and of a storage that is saved in pieces every piece."""
        start = tensor.storage_offset()
        tally, counted = held.charges.get(start, (None, 0))
        size = min(tensor.nbytes - counted, held.size - held.charged)
        if size <= 0:
            return
        if tally is None:
            tally = self._tallies.get(spot)
            if tally is None:
                tally = self._tallies[spot] = Tally()
            tally.count += 1
        tally.bytes += size
        tally.alive += size
        if tally.alive > tally.peak:
            tally.peak = tally.alive
        held.charged += size
        if held.charges:
            held.charges[start] = tally, counted + size
        else:
            held.charges = {start: (tally, size)}
        if self.owner is not None:
            self.owner.bytes += size

    def _fail(self, handle: Handle) -> None:
        self._live.fail(handle)
        outer = handle.outer
        while outer is not None:
            if outer.held is not None:
                outer.held.live.fail(outer)
            outer = outer.outer

    def _push(self) -> None:
        top = _top_hooks()
        self._outer = _watch_of(top)
        if (top is not None and self._outer is None) or not _autograd._saved_tensors_hooks_is_enabled():
            self._foreign = True
            return
        _autograd._push_saved_tensors_default_hooks(self.pack, self.unpack)

    def _pop(self) -> None:
        """Take the hooks off, also from below others that somebody has left."""
        above: list[_Hooks] = []
        while (top := _top_hooks()) is not None:
            _autograd._pop_saved_tensors_default_hooks()
            if _watch_of(top) is self:
                break
            above.append(top)
        _push_all(above)
        _off.hooks = [hooks for hooks in _off.hooks if _watch_of(hooks) is not self]


class _Off(threading.local):
    """The recorders' hooks that are off in this thread while torch does without hooks."""

    def __init__(self) -> None:
        self.hooks: list[_Hooks] = []


_off = _Off()


def _taking_off(disable: Callable[..., None]) -> Callable[..., None]:
    def _saved_tensors_hooks_disable(*args: Any) -> None:
        while (top := _top_hooks()) is not None and _watch_of(top) is not None:
            _autograd._pop_saved_tensors_default_hooks()
            _off.hooks.append(top)
        disable(*args)

    return _saved_tensors_hooks_disable


def _putting_back(enable: Callable[[], None]) -> Callable[[], None]:
    def _saved_tensors_hooks_enable() -> None:
        enable()
        hooks, _off.hooks = _off.hooks, []
        _push_all(hooks)

    return _saved_tensors_hooks_enable


def _push_all(taken: list[_Hooks]) -> None:
    """Put hooks back that were taken off one after the other."""
    for hooks in reversed(taken):
        _autograd._push_saved_tensors_default_hooks(*hooks)


def _top_hooks() -> _Hooks | None:
    """Return the hooks in force; torch traces without them, and they are meant all the same."""
    found: _Hooks | None = _autograd._top_saved_tensors_default_hooks(True)
    return found


def _watch_of(hooks: _Hooks | None) -> SavedWatch | None:
    """Return the watcher whose hooks these are."""
    owner = getattr(hooks[0], "__self__", None) if hooks is not None else None
    return owner if isinstance(owner, SavedWatch) else None


def _is_parameter(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, _Parameter) or (tensor._is_view() and isinstance(tensor._base, _Parameter))


def _needs_graph() -> bool:
    """Tell whether a node of torch's own reads the tensor: custom functions and attributes do without its graph."""
    node = torch._C._current_autograd_node()
    return node is not None and not isinstance(node, BackwardCFunction)


def _use(handle: Handle) -> None:
    reader: Handle | None = handle
    while reader is not None:
        if reader.held is not None and reader.held.joined:
            reader.held.live.use(reader)
        reader = reader.outer
