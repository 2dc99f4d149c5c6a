"""Noticing that a piece of code left another gradient mode behind, naming the line, and putting the mode back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from gradlint.runtime.checks.cause import Cause, message
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Form, Left, Mode, Recording, Switch
from gradlint.runtime.watch.modes import mode_now

_SAYS = {
    Mode.ON: "gradients on",
    Mode.OFF: "gradients off",
    Mode.INFERENCE: "inference mode",
}

# Leaving inference mode takes an object that must not be let go before the one that was left behind.
_KEPT: list[object] = []


@dataclass(slots=True)
class LeftMode:
    """``before`` and ``after`` are filled by `restoring`; ``causes`` are the lines that switched the mode."""

    before: Mode
    after: Mode
    causes: list[Cause] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the mode had to be put back."""
        return self.after is not self.before

    def message(self, who: str, more: str = "") -> str:
        """Return the error message: ``who`` left what it should not, where, and what to do; ``more`` happened."""
        what = f"{who} left {_SAYS[self.after]}, and had begun with {_SAYS[self.before]}"
        return message(what + more, self.causes, "switch the mode with `with`, which sets it back on every way out")


def put_back(mode: Mode) -> None:
    """Make ``mode`` the gradient mode of this thread, whatever was left entered."""
    now = mode_now()
    if now is mode:
        return
    # Recordings going on notice what was left when the mode is set in this way.
    torch.set_grad_enabled(torch.is_grad_enabled())
    if Mode.INFERENCE in (now, mode):
        guard = torch._C._InferenceMode(mode is Mode.INFERENCE)
        guard.__enter__()
        _KEPT.append(guard)
    if mode is not Mode.INFERENCE:
        torch.set_grad_enabled(mode is Mode.ON)


@contextmanager
def restoring() -> Iterator[LeftMode]:
    """Record this block at level 0, and put the mode back behind it. Exceptions of the block go through."""
    found = LeftMode(mode_now(), mode_now())
    recording = Recording()
    try:
        with record(level=0) as recording:
            yield found
    finally:
        found.after = mode_now()
        if found.changed:
            found.causes = switched_by(recording, found.after)
            put_back(found.before)


def switched_by(recording: Recording, mode: Mode) -> list[Cause]:
    """Return the lines that set ``mode`` and did not set it back; any that set it if that is not known."""
    left = [row for row in recording.left if row.mode is mode]
    rows: Sequence[Left | Switch] = left or [row for row in recording.switches if row.to is mode]
    return [
        Cause(row.place, f"`{row.of}` {'decorates this:' if row.form is Form.DECORATOR else 'sets'} {_SAYS[mode]} here")
        for row in rows
    ]
