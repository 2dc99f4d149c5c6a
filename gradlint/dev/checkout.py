"""The checkout that the bench works on."""

from __future__ import annotations

from pathlib import Path

import gradlint


class NoCheckout(Exception):
    """gradlint is installed without its repository, so there is nothing to write to."""


def checkout() -> Path:
    """Return the root of the repository that the running gradlint belongs to. Raises `NoCheckout`."""
    root = Path(gradlint.__file__).resolve().parent.parent
    if not (root / "rules").is_dir() or not (root / "fixtures").is_dir():
        raise NoCheckout(f"{root} is no checkout of gradlint: install it with `pip install -e .`")
    return root
