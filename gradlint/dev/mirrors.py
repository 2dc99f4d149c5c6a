"""Git repositories on the disk, read without a work tree: where each one lies, and its files at a commit."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

# What a link or a submodule stands for is not a file of the repository.
_PLAIN = (b"100644", b"100755")
# Nothing is ever asked of the network, not even by a clone that lacks objects.
_QUIET = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0"}


class MirrorError(Exception):
    """A repository, commit or file could not be read; the message says which and why."""


@dataclass(frozen=True, order=True)
class Mirror:
    """A repository. ``name`` is ``owner/name`` where the folder tells the owner; ``git`` is its git directory."""

    name: str
    git: Path

    def commit(self, revision: str = "HEAD") -> str:
        """Return the full hash of the commit that ``revision`` names. Raises `MirrorError` if there is none."""
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found is None:
            raise MirrorError(f"{self.name}: no commit {revision}")
        return found.decode("ascii").strip()

    def read(self, commit: str, path: str) -> bytes:
        """Return the bytes of one file. Raises `MirrorError` if it is not in the commit."""
        found = self._run("cat-file", "blob", f"{commit}:{path}")
        if found is None:
            raise MirrorError(f"{self.name}: no file {path} in {commit}")
        return found

    def check_out(self, commit: str, target: Path, wanted: Callable[[str], bool]) -> None:
        """Write the files of ``commit`` whose path is ``wanted`` into the new folder ``target``.

        Links, submodules and objects that the repository lacks are left out. The folder appears when everything
        is in it. Raises `MirrorError` if the commit cannot be read, or for a path that could leave the folder.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".checkout-") as scratch:
            folder = Path(scratch) / "tree"
            folder.mkdir()
            files = [(blob, path) for blob, path in self._tree(commit) if wanted(path)]
            for (_, path), data in zip(files, self._blobs([blob for blob, _ in files]), strict=True):
                if data is not None:
                    place = folder / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
            folder.rename(target)

    def _tree(self, commit: str) -> list[tuple[bytes, str]]:
        """Return hash and path of every plain file, by path."""
        listed = self._run("ls-tree", "-r", "-z", "--end-of-options", commit)
        if listed is None:
            raise MirrorError(f"{self.name}: no commit {commit}")
        files = []
        for row in filter(None, listed.split(b"\0")):
            facts, _, name = row.partition(b"\t")
            mode, _, blob = facts.split(b" ")
            if mode in _PLAIN:
                files.append((blob, _safe(os.fsdecode(name), self.name)))
        return files

    def _blobs(self, blobs: Sequence[bytes]) -> Iterator[bytes | None]:
        """Yield the content of each object, or nothing for one that is not there."""
        # The list goes through a file: nobody would read git's answers while a pipe to it is full.
        with tempfile.TemporaryFile() as wanted:
            wanted.write(b"".join(blob + b"\n" for blob in blobs))
            wanted.seek(0)
            command = self._command("cat-file", "--batch")
            with subprocess.Popen(command, stdin=wanted, stdout=subprocess.PIPE, env=_environment()) as process:
                assert process.stdout is not None
                for _ in blobs:
                    yield self._blob(process.stdout)

    def _blob(self, answers: IO[bytes]) -> bytes | None:
        head = answers.readline().split()
        if len(head) == 2 and head[1] == b"missing":
            return None
        if len(head) != 3:
            raise MirrorError(f"{self.name}: git does not read its objects")
        data = answers.read(int(head[2]))
        answers.read(1)
        return data

    def _run(self, *arguments: str) -> bytes | None:
        done = subprocess.run(self._command(*arguments), capture_output=True, check=False, env=_environment())
        return done.stdout if done.returncode == 0 else None

    def _command(self, *arguments: str) -> list[str]:
        return ["git", f"--git-dir={self.git}", "--no-replace-objects", *arguments]


def is_python(path: str) -> bool:
    """Tell whether a path of a repository is one that gradlint reads."""
    return path.endswith(".py")


def find(folder: Path, repository: str) -> Mirror | None:
    """Return the mirror of ``owner/name`` in ``folder``, in whichever layout it lies there; None without one.

    A repository lies in ``owner/name``, ``owner+name``, ``owner__name`` or ``name``, with ``.git`` behind or not. That
    is a bare git directory or a clone, or holds one of them called ``repo``.
    """
    owner, _, name = repository.rpartition("/")
    bases = [f"{owner}{join}{name}" for join in ("/", "+", "__")] if owner else []
    for base in (*bases, name):
        for place in (folder / base, folder / f"{base}.git"):
            git = _git_directory(place)
            if git is not None:
                return Mirror(repository, git)
    return None


def listed(folder: Path) -> list[Mirror]:
    """Return all mirrors in ``folder`` and in the folders of owners in it, by name."""
    found: list[Mirror] = []
    for place in _folders(folder):
        git = _git_directory(place)
        if git is not None:
            found.append(Mirror(_named(place.name), git))
            continue
        inner = ((each, _git_directory(each)) for each in _folders(place))
        found += [Mirror(f"{place.name}/{_named(each.name)}", git) for each, git in inner if git is not None]
    return sorted(found)


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir())


def _git_directory(place: Path) -> Path | None:
    for base in (place, place / "repo"):
        # `.git` is a file where the clone is a work tree of another one; git follows it.
        if (base / ".git").is_file():
            return base / ".git"
        for git in (base / ".git", base):
            if (git / "HEAD").is_file() and (git / "objects").is_dir():
                return git
    return None


def _named(folder: str) -> str:
    return folder.removesuffix(".git").replace("+" if "+" in folder else "__", "/", 1)


def _safe(path: str, repository: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or (os.sep != "/" and set(path) & {os.sep, ":"}):
        raise MirrorError(f"{repository}: unsafe path {path!r}")
    return path


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **_QUIET}
