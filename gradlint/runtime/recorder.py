"""``record()``: watch a run of torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import torch

from gradlint.runtime.frames import USER, Frames
from gradlint.runtime.place import Place, place_of
from gradlint.runtime.recording import Raised, Recording
from gradlint.runtime.watch.attributes import AttributeWatch
from gradlint.runtime.watch.calls import CallWatch
from gradlint.runtime.watch.compiled import CompileWatch
from gradlint.runtime.watch.cuts import CutWatch
from gradlint.runtime.watch.forwards import ForwardWatch
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.modes import ModeWatch, mode_now
from gradlint.runtime.watch.names import Names
from gradlint.runtime.watch.optimizers import HasMode, OptimizerWatch
from gradlint.runtime.watch.passes import PassWatch
from gradlint.runtime.watch.saved import SavedWatch
from gradlint.runtime.watch.threads import Local, ThreadWatch
from gradlint.runtime.watch.writes import WriteWatch

LEVELS = (0, 1, 2, 3)
_MESSAGE = 2000


class Watcher(Protocol):
    """What a recording is made of."""

    def start(self) -> None:
        """Begin to watch."""

    def stop(self) -> None:
        """Stop, and take back whatever was put in torch's way."""

    def fill(self, recording: Recording) -> None:
        """Write the rows."""


@contextmanager
def record(level: int = 1) -> Iterator[Recording]:
    """Watch what happens to gradients in this block; the recording is filled when the block ends.

    ``level`` 0 sees switches of the gradient mode, module calls and their graphs, and backward passes; 1 also the
    calls that matter to gradients, optimizers and flags; 2 every call of torch; 3 also the bytes saved for backward
    and edits of saved tensors. Threads started in the block are watched too; a block may lie inside another.
    An exception that leaves the block leaves it unchanged. Raises `ValueError` for another level.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(map(str, LEVELS))}, not {level!r}")
    recording = Recording(level, str(torch.__version__), platform.python_version(), _devices())
    watchers = _watchers(level)
    recording.mode_before = mode_now()
    started = time.perf_counter()
    with ExitStack() as stack:
        for watcher in watchers:
            watcher.start()
            stack.callback(watcher.stop)
        yield_to = stack.pop_all()
    try:
        yield recording
    except BaseException as error:
        # `sys.exit` and the closing of a generator end a program without anything having gone wrong.
        if not isinstance(error, SystemExit | GeneratorExit):
            recording.raised = _raised(error)
        raise
    finally:
        recording.seconds = time.perf_counter() - started
        recording.mode_after = mode_now()
        yield_to.close()
        for watcher in watchers:
            watcher.fill(recording)


def _watchers(level: int) -> list[Watcher]:
    """Return the watchers of ``level``, tied together, in the order in which they start."""
    frames, local = Frames(), Local()
    modes = ModeWatch(frames, local, makes=level >= 1)
    forwards = ForwardWatch(frames, local, modes, inner=level >= 1, follows=level >= 2)
    passes = PassWatch(frames, local, modes)
    passes.before.append(forwards.passed)
    watchers: list[Watcher] = [modes, forwards, passes, CompileWatch(frames)]
    if level == 0:
        return watchers
    names = Names()
    cuts = CutWatch(frames, names, follows=level >= 2)
    calls = CallWatch(frames, local, cuts, every=level >= 2)
    in_threads: list[Callable[[], AbstractContextManager[object]]] = [calls.mode]
    with_modes: list[HasMode] = [calls]
    if level >= 3:
        live = LiveSaved()
        saved, writes = SavedWatch(frames, live), WriteWatch(frames, live)
        forwards.saver, calls.live = saved, live
        with_modes.append(writes)
        in_threads += [saved.in_thread, writes.make_mode]
        watchers += [saved, writes]
    optimizers = OptimizerWatch(frames, names, with_modes)
    forwards.on_module, forwards.on_untracked, forwards.name_of = names.module, cuts.module, names.part
    passes.calls = calls
    passes.before += [cuts.settle, optimizers.before_backward]
    passes.after += [optimizers.after_backward]
    return [*watchers, AttributeWatch(frames, names), optimizers, ThreadWatch(in_threads), calls, cuts]


def _raised(error: BaseException) -> Raised:
    """Return what is kept of an exception; its text is cut, since some hold whole tensors."""
    frames = Frames()
    traceback = error.__traceback__
    places: list[Place] = []
    while traceback is not None:
        if frames.kind(traceback.tb_frame.f_code) == USER:
            places.append(place_of(traceback.tb_frame.f_code, traceback.tb_lasti))
        traceback = traceback.tb_next
    try:
        message = str(error)[:_MESSAGE]
    except Exception:
        message = ""
    return Raised(type(error).__name__, message, tuple(reversed(places)))


def _devices() -> tuple[str, ...]:
    if not torch.cuda.is_available():
        return ("cpu",)
    return ("cpu", *(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())))
