"""The devices that code can be run on here."""

from __future__ import annotations

import platform
from collections.abc import Iterable

import torch

CPU = "cpu"


class NoSuchDevice(ValueError):
    """A device that torch does not know or that this machine does not have; the text says which there are."""


def available() -> list[str]:
    """Return the kinds of devices there are, `cpu` first: ``["cpu"]`` or ``["cpu", "cuda"]``."""
    return [CPU, *(["cuda"] if torch.cuda.is_available() else [])]


def chosen(names: Iterable[str] | None) -> list[str]:
    """Return ``names`` once each, or all devices there are for None. Raises `NoSuchDevice`."""
    if names is None:
        return available()
    found = list(dict.fromkeys(names))
    for name in found:
        _require(name)
    return found


def _require(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise NoSuchDevice(f"torch knows no device called {name!r}; here there are {', '.join(available())}") from None
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type not in available() or (device.index or 0) >= count:
        raise NoSuchDevice(f"there is no device {name!r} on this machine; here there are {', '.join(available())}")


def described(name: str) -> str:
    """Return what the hardware behind a device is called: ``NVIDIA H200``, ``x86_64``."""
    if torch.device(name).type == "cuda":
        return str(torch.cuda.get_device_name(name))
    return platform.machine() or "unknown processor"
