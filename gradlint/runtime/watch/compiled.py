"""Level 0: what ``torch.compile`` compiles. What happens in there is not seen, so that nobody may conclude from it."""

from __future__ import annotations

import inspect
import os
import sys
from types import CodeType
from typing import Any

import torch

from gradlint.finding import Location
from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.place import NOWHERE, Place
from gradlint.runtime.recording import Compiled, Recording
from gradlint.runtime.watch.patches import Patches


class CompileWatch:
    """Sees which functions are given to ``torch.compile``, and whether anything was compiled at all."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._patches = Patches()
        self._functions: list[tuple[Spot | None, CodeType]] = []
        self._graphs = 0

    def start(self) -> None:
        """Begin to watch."""
        compile_ = torch.compile
        self._graphs = _graphs()

        def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 -- torch's own name
            if model is not None:  # or else it returns a decorator, which comes back here
                self._note(model, sys._getframe(1))
            return compile_(model, *args, **kwargs)

        self._patches.set(torch, "compile", compile)

    def stop(self) -> None:
        """Stop watching."""
        self._patches.undo()
        self._graphs = _graphs() - self._graphs

    def fill(self, recording: Recording) -> None:
        """Write the rows; one without a place if something was compiled that was not seen to be given."""
        recording.compiled += tuple(
            Compiled(self._frames.place(spot), 1, code.co_name, _extent(code)) for spot, code in self._functions
        )
        if self._graphs > 0 and not recording.compiled:
            recording.compiled = (Compiled(NOWHERE, self._graphs, "torch.compile"),)

    def _note(self, model: Any, frame: Any) -> None:
        # A module shows when it is called.
        code = getattr(inspect.unwrap(model), "__code__", None) if callable(model) else None
        if isinstance(code, CodeType):
            self._functions.append((self._frames.spot(frame)[0], code))


def _extent(code: CodeType) -> Place:
    """Return the lines of a function."""
    lines = [line for _, _, line in code.co_lines() if line]
    first, last = code.co_firstlineno, max(lines, default=code.co_firstlineno)
    return Place(os.path.abspath(code.co_filename), Location(first, 0, last, 0), code.co_name)


def _graphs() -> int:
    """Return how many graphs ``torch.compile`` has made in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo is not None else 0
