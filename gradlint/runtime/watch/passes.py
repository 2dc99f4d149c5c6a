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
        local, watched, before, failed = self._local, self._watched, self.before, self._failed

        def _engine_run_backward(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if local.passes:
                return run(t_outputs, *args, **kwargs)
            return watched(run, t_outputs, args, kwargs)

        def least(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
            for notice in before:
                notice(t_outputs)
            try:
                return run(t_outputs, *args, **kwargs)
            except Exception as error:
                failed(error, sys._getframe(1))
                raise

        # Level 0 is on while whole test suites run: it does the least.
        stands_in = least if self.calls is None else _engine_run_backward
        for module in (graph, torch.autograd):
            self._patches.set(module, "_engine_run_backward", stands_in)

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

    def _watched(self, run: Callable[..., Any], roots: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        frame = Frames.outside(sys._getframe(2))
        user = self._frames.user(frame)
        spot = (id(user.f_code), user.f_lasti) if user is not None else None
        tally = self._tallies.get((spot, frame.f_code.co_name == "grad"))
        if tally is None:
            tally = self._begin(frame, user, spot)
        tally.count += 1
        # Handing a value to the observers must not look like a call of the user's.
        with torch._C.DisableTorchFunction():
            self._look(tally, roots, frame)
        local = self._local
        local.passes = 1
        try:
            result = run(roots, *args, **kwargs) if self.calls is None else self._run_inside(run, roots, args, kwargs)
        except Exception as error:
            tally.errors.add(first_line(error))
            raise
        finally:
            local.passes = 0
        if self.after:
            with torch._C.DisableTorchFunction():
                for done in self.after:
                    done(spot)
        return result

    def _failed(self, error: Exception, caller: FrameType) -> None:
        """Note a backward that raised; level 0 notes no other."""
        frame = Frames.outside(caller)
        user = self._frames.user(frame)
        spot = (id(user.f_code), user.f_lasti) if user is not None else None
        tally = self._begin(frame, user, spot)
        tally.count += 1
        tally.errors.add(first_line(error))

    def _begin(self, frame: FrameType, user: FrameType | None, spot: Spot | None) -> _Tally:
        callers = self._frames.spots(user.f_back) if user is not None else ()
        tally = self._tallies[spot, frame.f_code.co_name == "grad"] = _Tally(callers, mode_now())
        return tally

    def _look(self, tally: _Tally, roots: Any, frame: FrameType) -> None:
        tensors = tuple(root for root in roots if isinstance(root, torch.Tensor))
        leaves = [root for root in tensors if root.grad_fn is None and root.requires_grad]
        if leaves:
            tally.leaf_roots += 1
            if self.calls is not None:
                tally.made.update((spot, None) for leaf in leaves if (spot := self.calls.made_at(leaf)) is not None)
        if self._local.entered:
            self._modes.check(frame)
        for notice in self.before:
            notice(tensors)

    def _run_inside(self, run: Callable[..., Any], roots: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self.calls
        mode = calls.again() if calls is not None else None
        try:
            return run(roots, *args, **kwargs)
        finally:
            if calls is not None and mode is not None:
                calls.leave(mode)
