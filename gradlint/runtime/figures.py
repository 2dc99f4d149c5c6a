"""Writing figures for people."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """Return a number of bytes with its unit: ``512 B``, ``1.5 KiB``, ``341 MiB``."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, 0
    while value >= 1023.5 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if value < 9.95 else f"{value:.0f} {_UNITS[unit]}"
