"""Level 0: where the gradient mode is switched, and where it stays switched for code that did not ask for it.

A mode is in order while the frame that set it is on the stack. When code runs under a mode whose setter has returned,
or is a suspended generator or coroutine, the mode has leaked.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

# Bound for good: a program may put something else in their place.
from torch import is_grad_enabled, is_inference_mode_enabled
from torch.autograd import grad_mode

from gradlint.runtime.frames import INTERNAL, USER, Frames, Spot
from gradlint.runtime.recording import Form, Left, Made, Mode, Recording, Switch
from gradlint.runtime.watch.patches import Patches
from gradlint.runtime.watch.threads import Entered, Local

_CLASSES = (grad_mode.no_grad, grad_mode.enable_grad, grad_mode.set_grad_enabled, grad_mode.inference_mode)
_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
# Functions whose business it is to set a mode for the code behind them.
_SETTERS = frozenset({"__enter__", "__aenter__", "setUp", "setUpClass", "setup_method", "setup_class", "setup_module"})

# `no_grad` sets the mode by way of `set_grad_enabled`: one switch, not two.
_OWN = frozenset(id(method.__code__) for method in (grad_mode.no_grad.__enter__, grad_mode.no_grad.__exit__))

_Leak = tuple["Spot | None", "Spot | None", Mode, Form, str, bool]


def mode_now() -> Mode:
    """Return the gradient mode of this thread."""
    if is_inference_mode_enabled():
        return Mode.INFERENCE
    return Mode.ON if is_grad_enabled() else Mode.OFF


class ModeWatch:
    """Sees every switch made by torch's own context managers and functions, in any thread."""

    def __init__(self, frames: Frames, local: Local, makes: bool) -> None:
        self._frames = frames
        self._local = local
        self._makes = makes
        self._patches = Patches()
        self._mark = f"_gradlint_made_at_{id(self)}"
        self._switches: Counter[tuple[Spot | None, Mode, Form, str]] = Counter()
        self._made: Counter[tuple[Spot, str]] = Counter()
        self._used: Counter[tuple[Spot, str]] = Counter()
        self._leaks: Counter[_Leak] = Counter()

    def start(self) -> None:
        """Begin to watch."""
        for manager in _CLASSES:
            self._patches.set(manager, "__enter__", self._entering(manager.__enter__, manager.__name__))
            self._patches.set(manager, "__exit__", self._exiting(manager.__exit__))
        setter = grad_mode.set_grad_enabled
        self._patches.set(setter, "__init__", self._setting(setter.__init__))
        self._patches.set(setter, "__call__", self._decorating(setter.__call__))
        if self._makes:
            for manager in (grad_mode.no_grad, grad_mode.enable_grad, grad_mode.inference_mode):
                self._patches.set(manager, "__init__", self._making(manager.__init__, manager.__name__))
                self._patches.set(manager, "__call__", self._decorating(manager.__call__))

    def stop(self) -> None:
        """Look for modes that were left, and stop watching."""
        self.check(sys._getframe(1), at_end=True)
        self._patches.undo()

    def fill(self, recording: Recording) -> None:
        """Write the rows about modes."""
        place = self._frames.place
        recording.switches = tuple(
            Switch(place(spot), count, to, form, of)
            for (spot, to, form, of), count in self._switches.items()
            if count  # a call that turned out to be a `with` was taken back
        )
        recording.made = tuple(
            Made(place(spot), count, of, self._used[spot, of]) for (spot, of), count in self._made.items()
        )
        recording.left = tuple(
            Left(place(spot), count, to, form, of, place(victim) if victim else None, suspended)
            for (spot, victim, to, form, of, suspended), count in self._leaks.items()
        )

    def check(
        self, frame: FrameType | None, mode: Mode | None = None, at_end: bool = False, sets_back: int = 0
    ) -> None:
        """Look whether ``mode`` (default: the current one) is in order for the code at ``frame``; remember if not.

        What the code object ``sets_back`` has set is about to be set back.
        """
        entered = self._local.entered
        if not entered:
            return
        mode = mode or mode_now()
        for entry in entered:
            left = entry.frame and entry.code != sets_back and not entry.reported and entry.to is mode
            if left and not _on_stack(entry, frame):
                entry.reported = True
                victim = None if at_end else self._frames.spot(frame)[0]
                self._leaks[entry.spot, victim, entry.to, entry.form, entry.of, entry.suspends] += 1

    def _entering(self, enter: Callable[[Any], None], of: str) -> Callable[[Any], None]:
        def __enter__(manager: Any) -> None:
            before = mode_now()
            enter(manager)
            if of == "set_grad_enabled":
                before = self._take_back_call(manager) or before
            if self._makes:
                self._count_use(manager, of)
            self._enter(Entered(manager, of, Form.WITH, before, mode_now()), Frames.outside(sys._getframe(1)))

        return __enter__

    def _exiting(self, leave: Callable[..., None]) -> Callable[..., None]:
        def __exit__(manager: Any, *error: Any) -> None:
            entered = self._local.entered
            if entered and entered[-1].manager is not manager:
                self._check_before_leaving(Frames.outside(sys._getframe(1)))
            leave(manager, *error)
            for index in range(len(entered) - 1, -1, -1):
                if entered[index].manager is manager:
                    # Leaving a block sets back what was called inside of it, too.
                    entered[index:] = [entry for entry in entered[index + 1 :] if entry.form is not Form.CALL]
                    break

        return __exit__

    def _check_before_leaving(self, frame: FrameType) -> None:
        """Look whether code of a block, or of a decorated function, ran in a mode that something else had set there.

        What the decorated function itself has set, its own decorator sets back.
        """
        if frame.f_code.co_name == "decorate_context":
            decorated = getattr(frame.f_locals.get("func"), "__code__", None)
            self.check(frame, sets_back=id(decorated))
        elif self._frames.kind(frame.f_code) == USER:
            self.check(frame)

    def _setting(self, init: Callable[[Any, bool], None]) -> Callable[[Any, bool], None]:
        """``set_grad_enabled(...)`` takes effect when it is made, whether or not a ``with`` follows."""
        kind, getframe, internal = self._frames.kinds.get, sys._getframe, INTERNAL

        def __init__(manager: Any, mode: bool) -> None:
            frame = getframe(1)
            if kind(id(frame.f_code)) == internal:
                init(manager, mode)  # torch's own; it sets back what it sets
                return
            frame = Frames.outside(frame)
            before = mode_now()
            init(manager, mode)
            if id(frame.f_code) not in _OWN and self._frames.kind(frame.f_code) != INTERNAL:
                self._call(Entered(manager, "set_grad_enabled", Form.CALL, before, mode_now()), frame)

        return __init__

    def _making(self, init: Callable[..., None], of: str) -> Callable[..., None]:
        def __init__(manager: Any, *args: Any, **kwargs: Any) -> None:
            init(manager, *args, **kwargs)
            frame = Frames.outside(sys._getframe(1))
            if self._frames.kind(frame.f_code) == USER:
                spot = (id(frame.f_code), frame.f_lasti)
                vars(manager)[self._mark] = spot
                self._made[spot, of] += 1

        return __init__

    def _decorating(self, call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def __call__(manager: Any, orig_func: Any) -> Any:
            self._take_back_call(manager)
            self._count_use(manager, type(manager).__name__)
            return call(manager, orig_func)

        return __call__

    def _count_use(self, manager: Any, of: str) -> None:
        spot = vars(manager).pop(self._mark, None)
        if spot is not None:
            self._used[spot, of] += 1

    def _take_back_call(self, manager: object) -> Mode | None:
        """Undo the entry of a `set_grad_enabled` that turns out to be a context manager; return the mode before it."""
        called = self._local.called
        if called is None or called[0] is not manager:
            return None
        _, entry, entered = called
        self._local.called = None
        self._local.entered[:] = entered
        if entry is None:
            return None
        self._switches[entry.spot, entry.to, entry.form, entry.of] -= 1
        return entry.before

    def _call(self, entry: Entered, frame: FrameType) -> None:
        """Note a call. One that restores the mode from before an earlier call settles that one."""
        self.check(frame, entry.before)
        entered = self._local.entered
        self._local.called = (entry.manager, entry, list(entered))
        entry.spot = self._frames.spot(frame)[0]
        self._switches[entry.spot, entry.to, entry.form, entry.of] += 1
        for index in range(len(entered) - 1, -1, -1):
            earlier = entered[index]
            if earlier.form is not Form.CALL:
                break
            if earlier.before is entry.to:
                del entered[index:]
                return
        if entry.to is not entry.before:
            self._own(entry, frame)
            entered.append(entry)

    def _enter(self, entry: Entered, frame: FrameType) -> None:
        self.check(frame, entry.before)
        frames = self._frames
        code = frame.f_code
        if frames.kind(code) == INTERNAL:
            # Torch's own; it sets back what it sets.
            self._local.entered.append(entry)
            return
        if code.co_name == "decorate_context" and entry.form is Form.WITH:
            entry.form = Form.DECORATOR
        entry.spot = frames.spot(frame)[0]
        self._switches[entry.spot, entry.to, entry.form, entry.of] += 1
        self._own(entry, frame)
        self._local.entered.append(entry)

    def _own(self, entry: Entered, frame: FrameType) -> None:
        """Find out which frame has to set the mode back."""
        owner: FrameType | None = frame
        if entry.form is not Form.DECORATOR:
            owner = self._frames.user(frame)
            if owner is not frame and entry.form is Form.WITH:
                return  # entered by an ExitStack or the like: whoever holds that one
        if owner is None or owner.f_code.co_name in _SETTERS or _is_program(owner):
            return
        flags = owner.f_code.co_flags
        if flags & _SUSPENDS and _is_run_by_library(owner):
            return
        entry.frame, entry.code = id(owner), id(owner.f_code)
        entry.suspends = bool(flags & _SUSPENDS)


def _is_program(owner: FrameType) -> bool:
    """Tell whether this is the body of the program itself: a mode set there is meant for all of it."""
    return owner.f_code.co_name == "<module>" and owner.f_globals.get("__name__") == "__main__"


def _is_run_by_library(owner: FrameType) -> bool:
    """Tell whether ``contextlib`` or pytest runs this generator: then its mode is meant for the code behind it."""
    runner = owner.f_back
    path = runner.f_code.co_filename.replace("\\", "/") if runner is not None else ""
    return path.endswith("/contextlib.py") or "/_pytest/" in path or "/pytest_asyncio/" in path


def _on_stack(entry: Entered, frame: FrameType | None) -> bool:
    while frame is not None:
        if id(frame) == entry.frame and id(frame.f_code) == entry.code:
            return True
        frame = frame.f_back
    return False
