"""Reading the data files that lie beside this module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

import msgspec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read_toml(name: str, shape: type[T]) -> T:
    """Return the TOML file ``name`` as a ``shape``.

    Raises `msgspec.ValidationError` where the file does not have the shape, `OSError` where it is missing.
    """
    return msgspec.convert(tomllib.loads(_bytes(name).decode()), shape)


def read_json(name: str, shape: type[T]) -> T:
    """Return the JSON file ``name`` as a ``shape``; raises like `read_toml`."""
    return msgspec.json.decode(_bytes(name), type=shape)


def words(text: str) -> frozenset[str]:
    """Return the blank-separated words of ``text``: how the data files write long lists of names."""
    return frozenset(text.split())


def _bytes(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
