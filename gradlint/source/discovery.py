"""Which files to read: those named, and the Python files under the folders named.

Links to files are followed, links to folders only when named. A file reached by several spellings is linted
once. Nothing is decided by the order in which the disk lists a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gradlint.source.globs import Globs
from gradlint.source.reading import NotReadable, read

_SUFFIXES = (".py", ".pyw")
_MAX_IGNORE_BYTES = 1_000_000
# Folders of other people's code, of build products and of tools.
_EXCLUDED = {".bzr", ".direnv", ".eggs", ".git", ".hg", ".idea", ".ipynb_checkpoints", ".mypy_cache", ".nox"}
_EXCLUDED |= {".pants.d", ".pyenv", ".pytest_cache", ".ruff_cache", ".svn", ".tox", ".venv", ".vscode"}
_EXCLUDED |= {"__pycache__", "__pypackages__", "_build", "buck-out", "build", "dist", "node_modules"}
_EXCLUDED |= {"site-packages", "venv"}

# The patterns in force in a folder: where each was written, and the patterns; the innermost last.
_Chain = tuple[tuple[str, Globs], ...]


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A file to lint: its name as shown, and the path to open; ``problem`` says why that is no use.

    ``real`` is the path with all links resolved: the same for every way to write it.
    """

    shown: str
    path: str
    problem: str = ""
    real: str = ""


@dataclass(frozen=True, slots=True)
class Excludes:
    """What to leave out. ``patterns`` pairs a folder with the globs relative to it; ``root`` is the project's folder.

    ``force`` applies all of it to files named one by one, too.
    """

    root: str
    patterns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    gitignore: bool = True
    force: bool = False


def discover(paths: Sequence[str], excludes: Excludes) -> list[Target]:
    """Return the files to lint, sorted by the name shown. A path that does not exist is among them."""
    walk = _Walk(excludes)
    found: dict[str, tuple[bool, Target]] = {}
    for given in paths:
        for key, linked, target in walk.under(given):
            if key not in found or (linked, target) < found[key]:
                found[key] = (linked, target)
    return sorted(replace(target, real=real) for real, (_, target) in found.items())


def is_excluded(path: str, excludes: Excludes) -> bool:
    """Tell whether a file that need not exist would be left out of a walk of its project."""
    return _Walk(excludes).leaves_out(absolute(path))


def absolute(given: str) -> str:
    """Return ``given`` from the root of the disk; only a path with ``..`` in it has its links resolved."""
    path = os.path.join(os.getcwd(), given)
    if ".." in path.split(os.sep):
        folder, name = os.path.split(path)
        return os.path.realpath(path) if name in ("", ".", "..") else os.path.join(os.path.realpath(folder), name)
    return os.path.normpath(path)


def shown(path: str, given: str) -> str:
    """Return how the absolute ``path`` is printed: relative below the current folder, and else as ``given`` was."""
    here = os.getcwd()
    if _below(path, here) is not None or not os.path.isabs(given):
        return os.path.relpath(path, here)
    return path


class _Walk:
    def __init__(self, excludes: Excludes) -> None:
        self._root = os.path.abspath(excludes.root)
        self._globs = [(os.path.abspath(base), Globs(lines)) for base, lines in excludes.patterns]
        self._gitignore = excludes.gitignore
        self._force = excludes.force
        self._read: dict[str, _Chain] = {}

    def under(self, given: str) -> Iterator[tuple[str, bool, Target]]:
        """Yield the files that ``given`` names: what each really is, whether through a link, and the target."""
        if "\0" in given:
            yield given, False, Target(given, given)
            return
        path = absolute(given)
        if os.path.isdir(path):
            yield from self._files(path, given)
        elif not (self._force and self.leaves_out(path)):
            yield os.path.realpath(path), os.path.islink(path), Target(shown(path, given), path)

    def leaves_out(self, path: str) -> bool:
        """Tell whether ``path`` or a folder of the project above it is excluded."""
        bases = [base for base in (self._root, os.getcwd()) if _below(path, base) is not None]
        base = bases[0] if bases else os.path.dirname(path)
        chain = self._chain_at(base)
        parts = (_below(path, base) or "").split("/")
        for count, part in enumerate(parts, 1):
            here = os.path.join(base, *parts[:count])
            is_folder = count < len(parts)
            if self._excluded(part, here, is_folder, chain):
                return True
            chain = self._extended(chain, here) if is_folder else chain
        return False

    def _files(self, root: str, given: str) -> Iterator[tuple[str, bool, Target]]:
        real_root = os.path.realpath(root)
        folders = [(root, self._chain_at(root))]
        while folders:
            folder, chain = folders.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = list(listing)
            except OSError as error:
                problem = f"the folder cannot be listed: {(error.strerror or 'unknown error').lower()}"
                yield folder, False, Target(shown(folder, given), folder, problem)
                continue
            for entry in entries:
                if self._is_folder(entry):
                    if not self._excluded(entry.name, entry.path, True, chain):
                        folders.append((entry.path, self._extended(chain, entry.path)))
                elif self._is_candidate(entry) and not self._excluded(entry.name, entry.path, False, chain):
                    linked = entry.is_symlink()
                    real = os.path.realpath(entry.path) if linked else real_root + entry.path[len(root) :]
                    yield real, linked, Target(shown(entry.path, given), entry.path)

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=False)
        except OSError:
            return False

    @staticmethod
    def _is_candidate(entry: os.DirEntry[str]) -> bool:
        # `.#name.py` is a dangling link by which Emacs locks a file.
        if not entry.name.endswith(_SUFFIXES) or entry.name.startswith(".#"):
            return False
        return not (entry.is_symlink() and os.path.isdir(entry.path))

    def _excluded(self, name: str, path: str, is_folder: bool, chain: _Chain) -> bool:
        if is_folder and (name in _EXCLUDED or name.endswith(".egg-info")):
            return True
        if any(globs.decide(_relative(path, base), is_folder) for base, globs in self._globs):
            return True
        for base, globs in reversed(chain):
            decision = globs.decide(_relative(path, base), is_folder)
            if decision is not None:
                return decision
        return False

    def _chain_at(self, folder: str) -> _Chain:
        """Return the patterns in force in ``folder``: its own, and those above it in the same repository."""
        if not self._gitignore:
            return ()
        above = [folder]
        while not os.path.exists(os.path.join(above[-1], ".git")):
            parent = os.path.dirname(above[-1])
            if parent == above[-1]:
                return self._ignores(folder, ".gitignore")
            above.append(parent)
        chain = self._ignores(above[-1], ".git/info/exclude")
        for each in reversed(above):
            chain += self._ignores(each, ".gitignore")
        return chain

    def _extended(self, chain: _Chain, folder: str) -> _Chain:
        return chain + self._ignores(folder, ".gitignore") if self._gitignore else ()

    def _ignores(self, folder: str, name: str) -> _Chain:
        """Return the patterns in one ignore file; none if there is no such file or it is not worth reading."""
        path = os.path.join(folder, name)
        if path not in self._read:
            try:
                text = read(path)[:_MAX_IGNORE_BYTES].decode("utf-8", "surrogateescape")
            except NotReadable:
                text = ""
            globs = Globs(text.split("\n"))
            self._read[path] = ((folder, globs),) if globs else ()
        return self._read[path]


def ignored_codes(path: str, root: str, rules: Iterable[tuple[Globs, frozenset[str]]]) -> frozenset[str]:
    """Return the codes that per-file ignores relative to ``root`` switch off for the absolute ``path``."""
    relative = _relative(path, root)
    parts = relative.split("/")
    # A pattern for a folder is meant for all that is in it.
    steps = [("/".join(parts[:count]), count < len(parts)) for count in range(1, len(parts) + 1)]
    return frozenset().union(*(codes for globs, codes in rules if any(globs.decide(*step) for step in steps)))


def _relative(path: str, base: str) -> str:
    below = _below(path, base)
    return path.replace(os.sep, "/").lstrip("/") if below is None else below


def _below(path: str, base: str) -> str | None:
    """Return the way from ``base`` to ``path`` with ``/`` between its parts, or None if it leads out of ``base``."""
    start = base if base.endswith(os.sep) else base + os.sep
    return path[len(start) :].replace(os.sep, "/") if path.startswith(start) else None
