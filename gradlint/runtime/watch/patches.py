"""Replacing functions of torch for a while."""

from __future__ import annotations

from typing import Any

_MISSING: Any = object()


class Patches:
    """Remembers what was replaced. Recordings lie inside each other, so that taking back goes from last to first."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def set(self, owner: Any, name: str, new: Any) -> None:
        """Make ``owner.name`` be ``new``; ``owner`` is a class or a module."""
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING), new))
        setattr(owner, name, new)

    def undo(self) -> None:
        """Put everything back, but for what somebody else has replaced since."""
        while self._replaced:
            owner, name, old, new = self._replaced.pop()
            if vars(owner).get(name) is not new:
                continue
            if old is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
