"""The real packages that gradlint is measured on: pinned in ``packages.toml``, downloaded, checked, unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
PINS = HERE / "packages.toml"
DEFAULT_CACHE = HERE / ".packages"
CACHE_VARIABLE = "GRADLINT_BENCHMARKS"
# All thirteen packages together are about 100 MB unpacked: more in one of them is not what was pinned.
MAX_UNPACKED_BYTES = 500_000_000


class CorpusError(Exception):
    """A package could not be had as it is pinned; the message says which and why."""


@dataclass(frozen=True)
class Package:
    """One pinned package. ``path`` is the folder inside the wheel that is linted."""

    name: str
    version: str
    file: str
    sha256: str
    path: str


@dataclass(frozen=True)
class Tree:
    """An unpacked package: ``root`` is what paths of findings are relative to, ``folder`` is what is linted."""

    package: Package
    root: Path
    folder: Path

    def files(self) -> list[Path]:
        """All Python files of the package, sorted."""
        return sorted(self.folder.rglob("*.py"))


def cache_folder(option: str | None) -> Path:
    """Where downloads and unpacked packages live: ``--cache``, else ``$GRADLINT_BENCHMARKS``, else ``.packages``."""
    return Path(option or os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).resolve()


def pinned(only: Sequence[str] = (), pins: Path = PINS) -> list[Package]:
    """The packages that ``pins`` lists, or those of them that ``only`` names.

    Raises `CorpusError` when ``only`` names a package that is not pinned.
    """
    packages = [Package(**row) for row in tomllib.loads(pins.read_text(encoding="utf-8"))["package"]]
    unknown = sorted(set(only) - {package.name for package in packages})
    if unknown:
        known = ", ".join(package.name for package in packages)
        raise CorpusError(f"not pinned: {', '.join(unknown)} (pinned: {known})")
    return [package for package in packages if not only or package.name in only]


def provide(package: Package, cache: Path) -> Tree:
    """Return ``package`` unpacked under ``cache``; downloads and unpacks what is missing, always checks the hash.

    Raises `CorpusError` when the download fails, the hash differs or the archive is not safe to unpack.
    """
    archive = cache / "downloads" / package.file
    if not archive.is_file():
        download(package, archive.parent)
    check_hash(archive, package.sha256)
    root = cache / f"{package.name}-{package.version}"
    if not root.is_dir():
        unpack(archive, root)
    folder = root / package.path
    if not folder.is_dir():
        raise CorpusError(f"{package.name}: no folder {package.path} in {root}")
    return Tree(package, root, folder)


def download(package: Package, folder: Path) -> None:
    """Fetch the wheel of ``package`` into ``folder`` with pip. Raises `CorpusError` when pip fails."""
    folder.mkdir(parents=True, exist_ok=True)
    # Wheels only: pip may run a source distribution's build script, and nothing that is linted is ever run.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--dest", str(folder), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (folder / package.file).is_file():
        raise CorpusError(f"{package.name}=={package.version}: pip did not bring {package.file}\n{done.stderr.strip()}")


def check_hash(archive: Path, sha256: str) -> None:
    """Raise `CorpusError` unless the file's SHA-256 is ``sha256``."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise CorpusError(f"{archive.name}: SHA-256 is {found}, pinned is {sha256}")


def unpack(archive: Path, root: Path) -> None:
    """Unpack a wheel into the new folder ``root``. Raises `CorpusError` for members that could leave it.

    The folder appears only when everything is in it, so an interrupted run leaves nothing half-done behind.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".unpack-") as scratch:
        target = Path(scratch) / "tree"
        target.mkdir()
        with zipfile.ZipFile(archive) as wheel:
            members = [member for member in wheel.infolist() if not member.is_dir()]
            check_members(archive.name, members)
            for member in members:
                destination = target / member.filename
                destination.parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(member) as source, destination.open("xb") as sink:
                    shutil.copyfileobj(source, sink)
        target.rename(root)


def check_members(archive: str, members: Iterable[zipfile.ZipInfo]) -> None:
    """Raise `CorpusError` for absolute names, ``..``, backslashes, drives, links, or far too many bytes."""
    size = 0
    for member in members:
        name = PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or any(sign in member.filename for sign in "\\:\0"):
            raise CorpusError(f"{archive}: unsafe name {member.filename!r}")
        if kind not in (0, stat.S_IFREG):
            raise CorpusError(f"{archive}: {member.filename!r} is not a plain file")
        size += member.file_size
    if size > MAX_UNPACKED_BYTES:
        raise CorpusError(f"{archive}: {size} bytes unpacked, at most {MAX_UNPACKED_BYTES} are allowed")


def count_lines(files: Iterable[Path]) -> int:
    """Number of lines (line feeds) in all files together."""
    return sum(file.read_bytes().count(b"\n") for file in files)
