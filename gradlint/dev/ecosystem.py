"""Lint real code with two versions of gradlint, to see what a change does to the findings."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlint.dev import mirrors, revisions
from gradlint.dev.deltas import Compared, markdown
from gradlint.dev.mirrors import MirrorError

_COMMIT = 10

Say = Callable[[str], None]
"""Is told of progress, one line at a time."""


class EcosystemError(Exception):
    """There is nothing to lint, or it cannot be had; the message says why."""


@dataclass(frozen=True)
class Tree:
    """Sources to lint: ``name`` is shown, ``folder`` is what paths are relative to, ``linted`` lies in it."""

    name: str
    folder: Path
    linted: Path


def packages(root: Path, only: Sequence[str], cache: str | None) -> list[Tree]:
    """Return the pinned packages of the checkout ``root``, or those of them that ``only`` names.

    They are downloaded where they are missing. Raises `EcosystemError` if one cannot be had.
    """
    command = [sys.executable, str(root / "benchmarks" / "packages.py"), "--fetch-only"]
    command += [word for name in only for word in ("--only", name)] + (["--cache", cache] if cache else [])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EcosystemError(done.stderr.strip() or f"packages.py: exit status {done.returncode}")
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    return [Tree(f"{name} {version}", Path(folder).parent, Path(folder)) for name, version, folder in rows]


def repositories(folder: Path, most: int | None, scratch: Path, say: Say) -> list[Tree]:
    """Return the newest commits of the mirrors in ``folder``, at most ``most`` of them, by name.

    Their Python files are written into ``scratch``. One that cannot be read is left out, and ``say`` is told. Raises
    `EcosystemError` if there are none.
    """
    trees = []
    for mirror in mirrors.listed(folder)[:most]:
        target = scratch / mirror.name.replace("/", "+")
        try:
            commit = mirror.commit()
            mirror.check_out(commit, target, mirrors.is_python)
        except MirrorError as error:
            say(f"left out: {error}")
            continue
        trees.append(Tree(f"{mirror.name} {commit[:_COMMIT]}", target, target))
    if not trees:
        raise EcosystemError(f"{folder}: there are no git repositories")
    return trees


def compare(
    sides: tuple[revisions.Side, revisions.Side],
    trees: Sequence[Tree],
    *,
    jobs: int,
    timeout: float,
    say: Say,
) -> list[Compared]:
    """Lint every tree with both sides, one after the other."""
    compared = []
    for number, tree in enumerate(trees, start=1):
        before, now = (side.lint(tree.linted, tree.folder, jobs, timeout) for side in sides)
        say(f"[{number}/{len(trees)}] {tree.name}: {before.seconds:.1f} s, {now.seconds:.1f} s")
        compared.append(Compared(tree.name, tree.folder, before, now))
    return compared


def run(
    root: Path,
    base: str,
    gather: Callable[[Path], Sequence[Tree]],
    *,
    jobs: int,
    timeout: float,
    say: Say,
) -> tuple[str, bool]:
    """Compare the working tree of the checkout ``root`` with its revision ``base``.

    ``gather`` is given a scratch folder and returns the trees to lint. Returns the report as Markdown, and whether
    the working tree crashed. Raises `EcosystemError`, or `gradlint.dev.revisions.RevisionError` without that revision.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        sides = (revisions.at_revision(root, base, scratch), revisions.working_tree(root, scratch))
        compared = compare(sides, gather(scratch / "trees"), jobs=jobs, timeout=timeout, say=say)
        text = markdown((sides[0].name, sides[1].name), compared)
    return text, any(tree.now.errors for tree in compared)
