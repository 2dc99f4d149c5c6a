"""When garbage is collected: not while files are analysed, and only after much of it.

What is analysed lies in cycles, some 60 times the size of the source; looking after every batch would take an eighth
of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_AFTER_BYTES = 2_000_000


class _Waiting:
    """What this process has analysed since garbage was last collected, in bytes of source."""

    of_bytes = 0


@contextmanager
def put_off() -> Iterator[None]:
    """Leave garbage until the end, but for what `analysed` collects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def analysed(size: int) -> None:
    """Note that so many bytes of source were analysed; garbage is collected when it is enough."""
    _Waiting.of_bytes += size
    if _Waiting.of_bytes > _AFTER_BYTES:
        gc.collect()
        _Waiting.of_bytes = 0
