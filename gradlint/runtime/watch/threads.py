"""What is known per thread, and taking the recording into the threads that are started meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from gradlint.runtime.frames import Spot
from gradlint.runtime.recording import Form, Mode, Recording
from gradlint.runtime.watch.patches import Patches


class Entered:
    """A gradient mode that was set in this thread and not set back yet.

    ``frame`` is the identity of the frame that has to set it back, 0 if it may be any.
    """

    __slots__ = ("before", "code", "form", "frame", "manager", "of", "reported", "spot", "suspends", "to")

    def __init__(self, manager: object, of: str, form: Form, before: Mode, to: Mode) -> None:
        self.manager = manager
        self.of = of
        self.form = form
        self.before = before
        self.to = to
        self.spot: Spot | None = None
        self.frame = 0
        self.code = 0
        self.suspends = False
        self.reported = False


class Local(threading.local):
    """The state of one thread: the modes in force, outermost first, and how many calls of modules and backwards run."""

    def __init__(self) -> None:
        self.entered: list[Entered] = []
        self.depth = 0
        self.passes = 0
        # The last call of `set_grad_enabled`, and what was in force before: it may turn out to be a `with`.
        self.called: tuple[object, Entered | None, list[Entered]] | None = None

    def switched_off(self) -> Spot | None:
        """Return where gradients were turned off, if they are and it was seen."""
        for entry in reversed(self.entered):
            if entry.to is not Mode.ON:
                return entry.spot
        return None


class ThreadWatch:
    """Enters what belongs to one thread only (such as a function mode) in every thread that is started meanwhile."""

    def __init__(self, contexts: Sequence[Callable[[], AbstractContextManager[object]]]) -> None:
        self._contexts = contexts
        self._patches = Patches()
        self._followed = 0

    def start(self) -> None:
        """Begin to follow threads."""
        start = threading.Thread.start
        contexts = self._contexts

        def start_watched(thread: threading.Thread, *args: Any, **kwargs: Any) -> None:
            run = thread.run
            self._followed += 1

            def run_watched() -> None:
                with ExitStack() as stack:
                    for context in contexts:
                        stack.enter_context(context())
                    run()

            thread.run = run_watched  # type: ignore[method-assign]
            start(thread, *args, **kwargs)

        self._patches.set(threading.Thread, "start", start_watched)

    def stop(self) -> None:
        """Stop following new threads; those that run go on being watched until they end."""
        self._patches.undo()

    def fill(self, recording: Recording) -> None:
        """Say how many threads were followed."""
        if self._followed:
            recording.notes += (f"followed {self._followed} thread{'s' if self._followed > 1 else ''}",)
