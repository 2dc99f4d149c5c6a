"""Level 0: backward passes. Above it, what runs inside them (hooks, custom functions, recomputation) is seen too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.autograd import graph

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Backward, Mode, Recording
from gradlint.runtime.watch.calls import CallWatch, first_line
from gradlint.runtime.watch.modes import ModeWatch, mode_now
from gradlint.runtime.watch.patches import Patches
from gradlint.runtime.watch.threads import Local


class _Tally:
    __slots__ = ("callers", "count", "errors", "leaf_roots", "made", "mode")

    def __init__(self, callers: tuple[Spot, ...], mode: Mode) -> None:
        self.callers = callers
        self.mode = mode
        self.count = self.leaf_roots = 0
        self.errors: set[str] = set()
        self.made: dict[Spot, None] = {}


class PassWatch:
    """Wraps the one function through which all backward passes go.

    ``calls`` is taken into the pass; ``before`` is told of its roots, ``after`` of its place.
    """

    def __init__(self, frames: Frames, local: Local, modes: ModeWatch) -> None:
        self._frames = frames
        self._local = local
        self._modes = modes
        self._patches = Patches()
        self._tallies: dict[tuple[Spot | None, bool], _Tally] = {}
        self.calls: CallWatch | None = None
        self.before: list[Callable[[tuple[torch.Tensor, ...]], None]] = []
        self.after: list[Callable[[Spot | None], None]] = []

    def start(self) -> None:
        """Begin to watch."""
        run = graph._engine_run_backward
        local, watched, before, failed, calls = self._local, self._watched, self.before, self._failed, self.calls

        def least(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
            for notice in before:
                notice(t_outputs)
            try:
                return run(t_outputs, *args, **kwargs)
            except Exception as error:
                failed(error, sys._getframe(1))
                raise

        def closely(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if calls is None or local.passes:
                return run(t_outputs, *args, **kwargs)
            return watched(calls, run, t_outputs, args, kwargs)

        # Level 0 is on while whole test suites run: it does the least.
        for module in (graph, torch.autograd):
            self._patches.set(module, "_engine_run_backward", least if calls is None else closely)

    def stop(self) -> None:
        """Stop watching."""
        self._patches.undo()

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        place = self._frames.place
        recording.backwards = tuple(
            Backward(
                place(spot),
                tally.count,
                tuple(place(caller) for caller in tally.callers),
                "grad" if is_grad else "backward",
                tally.leaf_roots,
                tuple(sorted(tally.errors)),
                mode=tally.mode,
                made=tuple(map(place, tally.made)),
            )
            for (spot, is_grad), tally in self._tallies.items()
        )

    def _watched(
        self, calls: CallWatch, run: Callable[..., Any], roots: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        frame = Frames.outside(sys._getframe(2))
        spot, tally = self._counted(frame)
        # Handing a value to the observers must not look like a call of the user's.
        with torch._C.DisableTorchFunction():
            self._look(calls, tally, roots, frame)
        self._local.passes = 1
        mode = calls.again()
        try:
            result = run(roots, *args, **kwargs)
        except Exception as error:
            tally.errors.add(first_line(error))
            raise
        finally:
            if mode is not None:
                calls.leave(mode)
            self._local.passes = 0
        with torch._C.DisableTorchFunction():
            for done in self.after:
                done(spot)
        return result

    def _failed(self, error: Exception, caller: FrameType) -> None:
        """Note a backward that raised; level 0 notes no other."""
        _, tally = self._counted(Frames.outside(caller))
        tally.errors.add(first_line(error))

    def _counted(self, frame: FrameType) -> tuple[Spot | None, _Tally]:
        """Return the user's spot behind ``frame`` and the counts of its row, counted up."""
        user = self._frames.user(frame)
        spot = (id(user.f_code), user.f_lasti) if user is not None else None
        key = (spot, frame.f_code.co_name == "grad")
        tally = self._tallies.get(key)
        if tally is None:
            callers = self._frames.spots(user.f_back) if user is not None else ()
            tally = self._tallies[key] = _Tally(callers, mode_now())
        tally.count += 1
        return spot, tally

    def _look(self, calls: CallWatch, tally: _Tally, roots: Any, frame: FrameType) -> None:
        tensors = tuple(root for root in roots if isinstance(root, torch.Tensor))
        leaves = [root for root in tensors if root.grad_fn is None and root.requires_grad]
        if leaves:
            tally.leaf_roots += 1
            tally.made.update((spot, None) for leaf in leaves if (spot := calls.made_at(leaf)) is not None)
        if self._local.entered:
            self._modes.check(frame)
        for notice in self.before:
            notice(tensors)
