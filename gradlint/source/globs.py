"""Patterns as in ``.gitignore``, matched in time linear in the length of the path.

A ``.gitignore`` comes from the tree that is linted and the usual translation to one regular expression lets
``*a*a*a*a*a*b`` or a row of ``**/`` take hours. Here every part between slashes is matched on its own by an
expression that never backs up over a star (`fnmatch.translate`), and ``**`` by the two-pointer method.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

_ANY_DEPTH = None  # stands for `**` among the parts of a pattern
_NOTHING = re.compile("(?!)")


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern. ``negated`` re-includes what an earlier one excluded; ``directories`` matches only those."""

    parts: tuple[re.Pattern[str] | None, ...]
    negated: bool
    directories: bool

    def matches(self, path: str, is_directory: bool) -> bool:
        """Tell whether ``path``, relative to the pattern's folder and with ``/`` between its parts, is meant."""
        if self.directories and not is_directory:
            return False
        return _match(self.parts, path.split("/"))


class Globs:
    """Patterns in order; the last one that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._globs = [glob for line in lines if (glob := compile_glob(line)) is not None]

    def __bool__(self) -> bool:
        return bool(self._globs)

    def decide(self, path: str, is_directory: bool) -> bool | None:
        """Return True if ``path`` is excluded, False if re-included, None if no pattern is about it."""
        for glob in reversed(self._globs):
            if glob.matches(path, is_directory):
                return not glob.negated
        return None


@lru_cache(maxsize=4096)
def compile_glob(line: str) -> Glob | None:
    """Return the pattern in one line of a ``.gitignore``; None for a comment or an empty line."""
    pattern = _without_trailing_spaces(line.rstrip("\r\n"))
    if not pattern or pattern.startswith("#"):
        return None
    negated = pattern.startswith("!")
    pattern = pattern[negated:]
    directories = pattern.endswith("/")
    pattern = pattern.rstrip("/") if directories else pattern
    anchored = "/" in pattern
    parts: list[re.Pattern[str] | None] = [] if anchored else [_ANY_DEPTH]
    for part in pattern.removeprefix("/").split("/"):
        if part != "**":
            parts.append(_part(part))
        elif not parts or parts[-1] is not _ANY_DEPTH:
            parts.append(_ANY_DEPTH)
    if not pattern.strip("/"):
        return None
    if parts[-1] is _ANY_DEPTH:
        # `a/**` is everything inside `a`, but not `a`.
        parts.append(_part("*"))
    return Glob(tuple(parts), negated, directories)


def _match(parts: tuple[re.Pattern[str] | None, ...], names: list[str]) -> bool:
    """Match as wildcards are: on a failure only the last `**` takes one name more."""
    part = name = 0
    retry: tuple[int, int] | None = None
    while name < len(names):
        wanted = parts[part] if part < len(parts) else _NOTHING
        if wanted is _ANY_DEPTH:
            part += 1
            retry = (part, name)
        elif wanted.match(names[name]):
            part += 1
            name += 1
        elif retry is not None:
            retry = (retry[0], retry[1] + 1)
            part, name = retry
        else:
            return False
    return part == len(parts)


def _part(text: str) -> re.Pattern[str]:
    """Return the expression for what stands between two slashes."""
    found: list[str] = []
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "\\" and position + 1 < len(text):
            position += 1
            found.append(f"[{text[position]}]" if text[position] in "*?[" else text[position])
        elif letter == "[" and text[position + 1 : position + 2] == "^":
            position += 1
            found.append("[!")
        else:
            found.append(letter)
        position += 1
    return re.compile(translate("".join(found)))


def _without_trailing_spaces(line: str) -> str:
    stripped = line.rstrip(" ")
    return stripped + " " if stripped.endswith("\\") and stripped != line else stripped
