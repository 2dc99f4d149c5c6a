"""Level 0: calls of modules from user code, and what becomes of the graphs they return.

A sentinel in the ``metadata`` of a result's graph node tells when the node dies: the dictionary belongs to the C++
node and keeps nothing alive. Before a backward, a walk from its roots finds the sentinels that it will pass; it ends
when it has seen all that wait, as a rule after a few nodes. (A hook on the node would tell too, but cost more.)
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch import is_grad_enabled, is_inference_mode_enabled, nn

from gradlint.runtime.frames import INTERNAL, USER, Frames, Spot
from gradlint.runtime.recording import Compiled, Forward, Mode, Recording
from gradlint.runtime.watch.modes import ModeWatch
from gradlint.runtime.watch.patches import Patches
from gradlint.runtime.watch.threads import Local

_DEPTH = 3
_TENSORS = 64
_MODES = (Mode.OFF, Mode.ON, Mode.INFERENCE)


class _Tally:
    """The counts of one row."""

    __slots__ = (
        "alive",
        "alive_bytes",
        "callers",
        "count",
        "name",
        "peak",
        "peak_bytes",
        "switched",
        "tracked",
        "unused_bytes",
        "used",
    )

    def __init__(self, callers: tuple[Spot, ...], switched: Spot | None) -> None:
        self.callers = callers
        self.switched = switched
        self.name = ""
        self.count = self.tracked = self.used = self.alive = self.peak = 0
        self.alive_bytes = self.peak_bytes = self.unused_bytes = 0


class Graph:
    """The graph of one call's result. It waits for a backward until one comes or the graph dies.

    ``bytes`` were saved for backward while it was made.
    """

    __slots__ = ("_tally", "_watch", "bytes", "waits")

    def __init__(self, watch: ForwardWatch, tally: _Tally) -> None:
        self._watch = watch
        self._tally = tally
        self.bytes = 0
        self.waits = False

    def open(self) -> None:
        """Begin to wait."""
        tally = self._tally
        self.waits = True
        self._watch.waiting += 1
        tally.tracked += 1
        alive = tally.alive = tally.alive + 1
        if alive > tally.peak:
            tally.peak = alive
        if self.bytes:
            tally.alive_bytes += self.bytes
            tally.peak_bytes = max(tally.peak_bytes, tally.alive_bytes)

    def use(self) -> None:
        """A backward goes through."""
        tally = self._tally
        self.waits = False
        self._watch.waiting -= 1
        tally.alive -= 1
        tally.alive_bytes -= self.bytes
        tally.used += 1

    def __del__(self) -> None:
        if self.waits:
            self.use()
            self._tally.used -= 1
            self._tally.unused_bytes += self.bytes


class ForwardWatch:
    """Sees module calls: the outermost ones, and with ``inner`` also those inside of others that user code makes.

    What becomes of the graphs of inner calls is seen if it ``follows`` them. ``on_module`` is told of every module
    that is called as the outermost one, ``on_untracked`` of calls that ran with gradients off. ``saver`` has an
    attribute ``owner``: the `Graph` to which saved bytes are charged.
    """

    def __init__(self, frames: Frames, local: Local, modes: ModeWatch, inner: bool, follows: bool) -> None:
        self._follows = follows
        self._frames = frames
        self._local = local
        self._modes = modes
        self._inner = inner
        self._patches = Patches()
        self._tallies: dict[tuple[int, int, type, bool, int], _Tally] = {}
        self._compiled: Counter[tuple[Spot, str]] = Counter()
        self.on_module: Callable[[nn.Module], None] | None = None
        self.name_of: Callable[[nn.Module], str] | None = None
        self.on_untracked: Callable[[nn.Module, Spot | None, Spot | None], None] | None = None
        self.saver: Any = None
        self.waiting = 0
        """How many graphs are alive that no backward has come to."""
        self._key = f"gradlint graphs {id(self)}"

    def start(self) -> None:
        """Begin to watch."""
        call = nn.Module.__call__
        is_compiling, is_on, is_inference = (
            torch.compiler.is_dynamo_compiling,
            is_grad_enabled,
            is_inference_mode_enabled,
        )
        local, kinds, tallies = self._local, self._frames.kinds, self._tallies
        written, first, attach = self._written, self._first, self._attach
        saver, getframe = self.saver, sys._getframe

        # The compiler traces through both, and must see nothing but the call. Every function called at level 0 costs
        # more than it seems: torch's own code leaves the caches cold.
        def outermost(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if local.depth or is_compiling():
                return call(self, *args, **kwargs)
            frame = getframe(1)
            mode = 1 if is_on() else 2 if is_inference() else 0
            tally = tallies.get((id(frame.f_code), frame.f_lasti, type(self), self.training, mode))
            if tally is None or local.entered:
                tally = first(self, frame, mode)
                if tally is None:
                    return call(self, *args, **kwargs)
            tally.count += 1
            local.depth = 1
            try:
                result = call(self, *args, **kwargs)
            finally:
                local.depth = 0
            if type(result) is not tensor:
                attach(Graph(watch, tally), result)
            elif (node := result.grad_fn) is not None:
                graph = Graph(watch, tally)
                graph.open()
                node.metadata.setdefault(key, []).append(graph)
            return result

        def every(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return call(self, *args, **kwargs)
            frame = getframe(1)
            if local.depth:
                if kinds.get(id(frame.f_code)) == INTERNAL:
                    return call(self, *args, **kwargs)
                return written(call, self, args, kwargs, frame)
            mode = 1 if is_on() else 2 if is_inference() else 0
            tally = first(self, frame, mode)
            if tally is None:
                return call(self, *args, **kwargs)
            tally.count += 1
            local.depth = 1
            graph = Graph(watch, tally)
            if saver is not None:
                saver.owner = graph
            try:
                result = call(self, *args, **kwargs)
            finally:
                local.depth = 0
                if saver is not None:
                    saver.owner = None
            attach(graph, result)
            return result

        watch, key, tensor = self, self._key, torch.Tensor
        self._patches.set(nn.Module, "__call__", every if self._inner else outermost)

    def stop(self) -> None:
        """Stop watching calls; graphs that are alive go on to be counted until they are read."""
        self._patches.undo()

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        place = self._frames.place
        recording.forwards = tuple(
            Forward(
                place((code, instruction)),
                tally.count,
                tuple(place(caller) for caller in tally.callers),
                module.__name__,
                training,
                _MODES[mode],
                place(tally.switched) if tally.switched else None,
                tally.tracked,
                tally.used,
                tally.alive,
                tally.peak,
                tally.unused_bytes + tally.alive_bytes,
                tally.peak_bytes,
                tally.name,
            )
            for (code, instruction, module, training, mode), tally in self._tallies.items()
        )
        recording.compiled += tuple(
            Compiled(place(spot), count, name) for (spot, name), count in self._compiled.items()
        )

    def passed(self, roots: tuple[torch.Tensor, ...]) -> None:
        """Tell the graphs behind ``roots`` that a backward goes through them."""
        if not self.waiting:
            return
        key = self._key
        nodes = [node for root in roots if (node := root.grad_fn) is not None]
        while len(nodes) == 1:  # behind a loss comes a chain, as a rule
            node = nodes[0]
            for graph in node.metadata.get(key, ()):
                if graph.waits:
                    graph.use()
            if not self.waiting:
                return
            nodes = [following for following, _ in node.next_functions if following is not None]
        seen = set(nodes)
        for node in nodes:  # grows while it is walked, breadth first
            for graph in node.metadata.get(key, ()):
                if graph.waits:
                    graph.use()
            if not self.waiting:
                return
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    nodes.append(following)

    def _attach(self, graph: Graph, result: Any) -> None:
        """Tie ``graph`` to the nodes of the tensors in ``result``, if there are any."""
        with torch._C.DisableTorchFunction():
            tensors = (result,) if type(result) is torch.Tensor else islice(_tensors(result, _DEPTH), _TENSORS)
            for tensor in tensors:
                node = tensor.grad_fn
                if node is not None:
                    if not graph.waits:
                        graph.open()
                    node.metadata.setdefault(self._key, []).append(graph)

    def _first(self, module: nn.Module, frame: FrameType, mode: int) -> _Tally | None:
        """Return the counts for a call that is not part of another one; None if no user's code is behind it."""
        user = self._frames.user(frame)
        if user is None:
            return None
        if self._local.entered:
            self._modes.check(frame)
        if self.on_module is not None:
            self.on_module(module)
        if module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule":
            self._compiled[(id(user.f_code), user.f_lasti), type(module).__name__] += 1
        return self._tally(module, user, mode)

    def _written(
        self,
        call: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        """Watch a call inside of another one, if it is written in user code."""
        kind = self._frames.kind(frame.f_code)
        user = frame if kind == USER else self._frames.user(frame)
        if kind == INTERNAL or user is None:
            return call(module, *args, **kwargs)
        mode = 1 if is_grad_enabled() else 2 if is_inference_mode_enabled() else 0
        tally = self._tally(module, user, mode)
        tally.count += 1
        result = call(module, *args, **kwargs)
        if self._follows:
            self._attach(Graph(self, tally), result)
        return result

    def _tally(self, module: nn.Module, frame: FrameType, mode: int) -> _Tally:
        """Return the counts of the row for a call from ``frame``."""
        key = (id(frame.f_code), frame.f_lasti, type(module), module.training, mode)
        tally = self._tallies.get(key)
        if tally is None:
            switched = None if mode == 1 else self._local.switched_off()
            tally = self._tallies[key] = _Tally(self._frames.spots(frame.f_back), switched)
            if self.name_of is not None:
                tally.name = self.name_of(module)
            if mode != 1 and self.on_untracked is not None:
                self.on_untracked(module, (id(frame.f_code), frame.f_lasti), switched)
        return tally


def _tensors(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth:
        for inner in _parts(value):
            yield from _tensors(inner, depth - 1)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name, None) for field in fields(value))
