"""Repositories as they were at a commit, linted: all their Python files, or single ones alone."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gradlint import Certainty, Config, Finding, check_paths
from gradlint.dev.mirrors import Mirror, MirrorError, find, is_python

INTERNAL_ERROR = "GRD002"


@dataclass(frozen=True)
class Seen:
    """What gradlint says about some files of one commit.

    ``sources`` and ``findings`` go by path in the repository; a file that is not there is in neither. ``crashes`` are
    internal errors anywhere in the commit.
    """

    sources: Mapping[str, bytes]
    findings: Mapping[str, Sequence[Finding]]
    crashes: Sequence[str] = ()
    files: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Bench:
    """How commits are linted: with all their files or with ``isolated`` ones; ``cache`` keeps what was checked out."""

    cache: Path
    isolated: bool = False
    jobs: int = 1
    certainty: Certainty = Certainty.LIKELY
    config: Config = field(init=False)

    def __post_init__(self) -> None:
        # The settings of the repository are its owners' taste, and the cache may be ignored by git.
        made = Config(min_certainty=self.certainty, respect_gitignore=False)
        object.__setattr__(self, "config", made)

    def lint(self, mirror: Mirror, commit: str, files: Sequence[str]) -> Seen:
        """Lint a commit and return what is said about those of ``files`` that are in it.

        Raises `gradlint.dev.mirrors.MirrorError` when there is no such commit.
        """
        mirror.commit(commit)
        sources = {}
        for file in files:
            with suppress(MirrorError):
                sources[file] = mirror.read(commit, file)
        if self.isolated:
            return self._alone(sources)
        root = self.provide(mirror, commit)
        # Named besides the folder: a file in a folder like `build` is not left out.
        return self._check(root, [root, *(root / file for file in sources)], sources)

    def provide(self, mirror: Mirror, commit: str) -> Path:
        """Return the folder with the Python files of a commit; they are written on the first call."""
        folder = self.cache / "trees" / mirror.name.replace("/", "+") / commit
        if not folder.is_dir():
            mirror.check_out(commit, folder, is_python)
        return folder

    def _alone(self, sources: Mapping[str, bytes]) -> Seen:
        seen = []
        for file, data in sources.items():
            with tempfile.TemporaryDirectory() as scratch:
                place = Path(scratch).resolve() / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                seen.append(self._check(Path(scratch).resolve(), [place], {file: data}))
        return Seen(
            sources,
            {file: found for each in seen for file, found in each.findings.items()},
            [crash for each in seen for crash in each.crashes],
            sum(each.files for each in seen),
            sum(each.seconds for each in seen),
        )

    def _check(self, root: Path, paths: Sequence[Path], sources: Mapping[str, bytes]) -> Seen:
        start = time.perf_counter()
        result = check_paths(paths, self.config, jobs=self.jobs)
        seconds = time.perf_counter() - start
        named = [(Path(os.path.relpath(found.path, root)).as_posix(), found) for found in result.findings]
        crashes = [
            f"{path}:{found.location.line} {found.message}" for path, found in named if found.code == INTERNAL_ERROR
        ]
        findings = {file: [found for path, found in named if path == file] for file in sources}
        return Seen(sources, findings, crashes, result.files, seconds)


class Commits:
    """What gradlint says about the commits that were asked for, each linted once."""

    def __init__(self, mirrors: Path, bench: Bench, say: Callable[[str], None]) -> None:
        self._mirrors = mirrors
        self._bench = bench
        self._say = say
        self._known: dict[tuple[str, str], Seen | str] = {}

    def lint(self, wanted: Iterable[tuple[str, str, str]]) -> None:
        """Lint commits; what is wanted are repository, commit and file."""
        files: dict[tuple[str, str], set[str]] = {}
        for repository, commit, file in wanted:
            files.setdefault((repository, commit), set()).add(file)
        for number, ((repository, commit), names) in enumerate(sorted(files.items()), start=1):
            before = self._known.get((repository, commit))
            if isinstance(before, Seen):
                if names <= before.findings.keys():
                    continue
                names |= before.findings.keys()
            outcome = self._lint(repository, commit, sorted(names))
            self._known[repository, commit] = outcome
            words = outcome if isinstance(outcome, str) else f"{outcome.files} files in {outcome.seconds:.1f} s"
            self._say(f"[{number}/{len(files)}] {repository} {commit[:10]}: {words}")

    def _lint(self, repository: str, commit: str, files: Sequence[str]) -> Seen | str:
        try:
            mirror = find(self._mirrors, repository)
            return self._bench.lint(mirror, commit, files) if mirror else f"no mirror of {repository}"
        except MirrorError as error:
            return str(error)

    def file(self, repository: str, commit: str, file: str) -> tuple[bytes, Sequence[Finding]] | str:
        """Return the source of a file and the findings in it, or why there is none."""
        known = self._known[repository, commit]
        if isinstance(known, str):
            return known
        if file not in known.sources:
            return f"no {file} in {commit[:10]}"
        return known.sources[file], known.findings[file]

    def seen(self) -> Iterator[tuple[str, str, Seen]]:
        """Yield repository, commit and result of everything that was linted, sorted."""
        for (repository, commit), known in sorted(self._known.items(), key=lambda item: item[0]):
            if isinstance(known, Seen):
                yield repository, commit, known
