"""Level 3: writes to tensors that are saved for backward.

A dispatch mode sees every operation that writes, also those that leave version counters alone: through ``.data``, or
by a fused optimizer. In a healthy program almost none of them meets a saved tensor; the others cost one look-up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _python_dispatch as dispatch

from gradlint.runtime.frames import Frames
from gradlint.runtime.recording import Recording
from gradlint.runtime.watch.inside_backward import InsideBackward
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.values import unseen

_function_modes = torch._C._len_torch_function_stack

_Plan = tuple[Callable[..., Any], "tuple[tuple[int | None, str], ...]", str, Any]
"""How to run an operation, which of its arguments it writes to (by position or name), its name, and the operation:
it is known by its identity, which has to stay its own."""


class WriteWatch:
    """Sees writes to saved tensors. Every thread needs a mode of its own."""

    def __init__(self, frames: Frames, live: LiveSaved) -> None:
        self.frames = frames
        self.live = live
        self.plans: dict[int, _Plan] = {}
        self._mode: dispatch.TorchDispatchMode | None = None
        self._inside = InsideBackward(self._is_ours)

    def start(self) -> None:
        """Begin to watch this thread; others have to enter `make_mode`."""
        self._mode = self.make_mode()
        self._mode.__enter__()
        self._inside.start()

    def stop(self) -> None:
        """Stop watching, also from below modes that somebody has left."""
        self._inside.stop()
        mode, self._mode = self._mode, None
        if mode is None:
            return
        above = []
        while (top := dispatch._get_current_dispatch_mode()) not in (mode, None):
            above.append(top)
            dispatch._pop_mode()
        if top is mode:
            mode.__exit__(None, None, None)
        for other in reversed(above):
            dispatch._push_mode(other)

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        recording.edits = self.live.edits(self.frames)

    def make_mode(self) -> dispatch.TorchDispatchMode:
        """Return a new mode that shares what is known: to be entered in another thread, or around backward."""
        return _WriteMode(self)

    def put_aside(self) -> dispatch.TorchDispatchMode | None:
        """Take our mode away if it is the innermost one and nothing is saved; return it, to be put back.

        Meant for the step of an optimizer, most of whose operations write, and which saves nothing itself.
        """
        top = dispatch._get_current_dispatch_mode()
        if self.live.held or not self._is_ours(top):
            return None
        mode: dispatch.TorchDispatchMode = dispatch._pop_mode()
        return mode

    @staticmethod
    def put_back(mode: dispatch.TorchDispatchMode) -> None:
        """Enter ``mode`` again."""
        dispatch._push_mode(mode)

    def _is_ours(self, mode: object) -> bool:
        return isinstance(mode, _WriteMode) and mode.watch is self

    def plan(self, operation: Any) -> _Plan:
        """Find out from its schema what ``operation`` writes to."""
        schema = getattr(operation, "_schema", None)
        # `_op` is the operation without a layer of Python. Higher-order operators have neither.
        run = getattr(operation, "_op", operation)
        name = schema.name.removeprefix("aten::") if schema is not None else str(operation)
        written: list[tuple[int | None, str]] = []
        for position, argument in enumerate(schema.arguments if schema is not None else ()):
            if argument.alias_info is not None and argument.alias_info.is_write and not _is_own(name, argument):
                written.append((None if argument.kwarg_only else position, argument.name))
        if written and name.startswith("_foreach_"):
            run = _counted(run)
        plan = self.plans[id(operation)] = run, tuple(written), name, operation
        return plan


class _WriteMode(dispatch.TorchDispatchMode):
    """The mode of one thread."""

    supports_higher_order_operators = True

    def __init__(self, watch: WriteWatch) -> None:
        super().__init__()
        self.watch = watch
        self._live = watch.live
        self._held = watch.live.held
        self._plans = watch.plans

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do without a wrapper that imports ``torch._dynamo`` at the first operation and costs half a microsecond."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Leave compiled code compiled: torch would run it as if it were not, to show its operations."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plan = self._plans.get(id(func))
        if plan is None:
            plan = self.watch.plan(func)
        run = plan[0]
        if plan[1] and self._held:
            return self._write(plan, args, kwargs or {})
        if not _function_modes():
            return run(*args, **kwargs) if kwargs else run(*args)
        # Inside of a backward: an operation of the engine's is no call of the user's.
        with torch._C.DisableTorchFunction():
            return run(*args, **kwargs) if kwargs else run(*args)

    def _write(self, plan: _Plan, args: Any, kwargs: Any) -> Any:
        run, written, name, _ = plan
        live = self._live
        with unseen():
            parts, missed = live.touched(_tensors(written, args, kwargs)) if live.active else ([], [])
            if parts or missed:
                spots = self.watch.frames.spots(sys._getframe(2))
                source = spots[0] if spots else None, name
                live.misses(missed, source, spots[1:])
                hits = live.before_write(parts, source)
        result = run(*args, **kwargs)
        if parts:
            with unseen():
                live.after_write(hits, source, spots[1:])
        return result


def _is_own(name: str, argument: Any) -> bool:
    """Tell whether an operation of torch writes to ``argument`` because it saves that itself.

    ``batch_norm`` writes running statistics and ``rrelu`` its noise, into what their nodes have saved already.
    """
    in_place = name.endswith("_") or "::" in name or argument.kwarg_only
    return not in_place or argument.name == "noise"


def _counted(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let an operation on lists of tensors count its edits, and refuse those of inference tensors.

    Torch does both above the dispatch modes for other operations, but for these below, where it is switched off
    (torch 2.13: ``torch._foreach_mul_`` below any `TorchDispatchMode` leaves ``_version`` alone).
    """

    def run_counted(*args: Any, **kwargs: Any) -> Any:
        with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):
            return run(*args, **kwargs)

    return run_counted


def _tensors(written: tuple[tuple[int | None, str], ...], args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    for position, name in written:
        value = args[position] if position is not None and position < len(args) else kwargs.get(name)
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (tensor for tensor in value if isinstance(tensor, torch.Tensor))
