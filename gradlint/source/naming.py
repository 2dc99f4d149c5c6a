"""What the files of a run are called among each other: one name each, however their paths were written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""What lies in the folder of a project."""
_RESERVED = re.compile("[%:\ud800-\udfff]")
"""A colon ends the file in the names of functions, and half a character cannot be written down."""


def names(paths: Sequence[str]) -> list[str]:
    """Return the names of files whose real ``paths`` are given, in the same order.

    A name is the path below the folder of the project, with ``/`` between its parts: above that, where the project lies
    on the disk says nothing about it.
    """
    root = _root(paths)
    below = (path[len(root) :].replace(os.sep, "/").lstrip("/") for path in paths)
    return [_RESERVED.sub(lambda found: f"%{ord(found[0]):04X}", path) for path in below]


def _root(paths: Sequence[str]) -> str:
    """Return the nearest folder around all files that holds a project, else the one around the package they are."""
    try:
        shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        return ""  # no files, or files on several drives
    folder = shared
    while not any(os.path.exists(os.path.join(folder, mark)) for mark in _MARKS):
        above = os.path.dirname(folder)
        if above == folder:
            return _around_package(shared)
        folder = above
    return folder


def _around_package(folder: str) -> str:
    above = os.path.dirname(folder)
    while os.path.exists(os.path.join(above, "__init__.py")) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    return above
