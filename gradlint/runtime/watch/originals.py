"""Giving custom functions the tensors that they saved.

Without hooks ``ctx.saved_tensors`` holds the very inputs that were saved. With hooks torch makes new tensors, which
are no parameters any more and have lost their attributes.
"""

from __future__ import annotations

import threading
from typing import Any

import torch

from gradlint.runtime.watch.held import Handle

being_read: dict[int, list[Handle]] = {}
"""By thread: what has been unpacked by the ``ctx.saved_tensors`` that is being read now."""


def reading(attribute: Any) -> property:
    """Return a property that reads ``saved_tensors`` by way of ``attribute`` and puts the saved inputs in place."""

    def saved_tensors(context: Any) -> tuple[torch.Tensor | None, ...]:
        thread = threading.get_ident()
        around = being_read.get(thread)
        unpacked = being_read[thread] = []
        try:
            tensors: tuple[torch.Tensor | None, ...] = attribute.__get__(context)
        finally:
            if around is None:
                del being_read[thread]
            else:
                being_read[thread] = around
        if len(unpacked) != sum(tensor is not None for tensor in tensors):
            return tensors
        handles = iter(unpacked)
        return tuple(None if tensor is None else _original(tensor, next(handles)) for tensor in tensors)

    return property(saved_tensors)


def _original(tensor: torch.Tensor, handle: Handle) -> torch.Tensor:
    return tensor if handle.output >= 0 else handle.tensor
