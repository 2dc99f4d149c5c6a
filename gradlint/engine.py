"""Files in, findings out: the public functions, whatever runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain

from gradlint import config as configuration
from gradlint import filecheck, pool, registry
from gradlint.config import Config
from gradlint.filecheck import Job, Report, Settings
from gradlint.finding import Finding, Location
from gradlint.source import discovery, reading
from gradlint.source.discovery import Target
from gradlint.source.globs import Globs
from gradlint.source.positions import Excerpt

# Below either of these, starting processes takes longer than doing the work.
_MANY_FILES = 40
_MANY_BYTES = 1_000_000
_BATCH_FILES = 20
_BATCH_BYTES = 200_000

Progress = Callable[[int, int], None]
"""Is called with the number of files done and the number of files."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. ``failed`` are the files of which some part was not analysed, ``files`` counts them all.

    ``excerpts`` holds the source lines that findings and their evidence point at.
    """

    findings: tuple[Finding, ...]
    files: int
    failed: tuple[str, ...] = ()
    excerpts: Mapping[tuple[str, Location], Excerpt] = field(default_factory=dict, repr=False)


def check_source(
    text: str, path: str = "<string>", config: Config | None = None, *, raise_internal_errors: bool = False
) -> list[Finding]:
    """Return the findings in ``text``, sorted by position.

    ``path`` is what findings call the file, and what per-file ignores match. A text that cannot be analysed is a
    finding, not an exception; `ConfigError` is raised for a configuration that names unknown rules.
    """
    config = config or Config()
    settings = _settings(config, raise_internal_errors)
    return list(filecheck.check_text(path, text, settings, _Ignored(config).of(path)).findings)


def check_bytes(data: bytes, path: str, config: Config | None = None, *, raise_internal_errors: bool = False) -> Result:
    """Return the result for a file's bytes that did not come from the disk; see `check_source`."""
    config = config or Config()
    settings = _settings(config, raise_internal_errors)
    job = Job(path, data, _Ignored(config).of(path))
    try:
        reading.require_size(len(data))
    except reading.NotReadable as error:
        return _result([filecheck.not_analysed(path, error, settings, job.ignored)], 1)
    return _result(filecheck.check_batch([job], settings) if filecheck.concerns(data) else [], 1)


def check_paths(
    paths: Sequence[str | os.PathLike[str]],
    config: Config | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
    exclude: Sequence[str] = (),
    force_exclude: bool = False,
    raise_internal_errors: bool = False,
) -> Result:
    """Check files, and the Python files under folders.

    Without ``config``, the one in force for the first path is looked up. ``jobs`` limits the number of processes
    (default: one per processor; they are started only where they save time); any ``executor`` may take their
    place. ``exclude`` are more patterns, relative to the current folder; with ``force_exclude`` files that are
    named are excluded like others. ``on_progress`` is called with files done and files in all.

    A file that cannot be read or analysed is a finding, not an exception. `ConfigError` is raised for settings
    that cannot be followed.
    """
    given = [os.fspath(path) for path in paths]
    config = config or configuration.find(given[0] if given else ".")
    settings = _settings(config, raise_internal_errors)
    targets = discovery.discover(given, excludes(config, exclude, force_exclude))
    run = _Run(targets, settings, _Ignored(config), on_progress)
    workers = max(1, jobs if jobs is not None else pool.processors())
    with closing(run.reports(workers, executor)) as reports:
        return _result(reports, len(targets))


def admit(findings: Iterable[Finding], text: str, config: Config) -> list[Finding]:
    """Return what ``config`` and the comments in ``text`` let through of findings that somebody else made.

    ``findings`` are about one file, which has ``text``. Their codes need not be those of rules: a code that is none
    is let through by ``ALL`` and by its beginning. Severities become those of ``config``.
    """
    known = frozenset(rule.code for rule in registry.all_rules())
    severities, ignored = config.severities(), _Ignored(config)
    let_through = [
        replace(finding, severity=severities.get(finding.code, finding.severity))
        for finding in findings
        if (finding.code in config.codes() if finding.code in known else _matches(finding.code, config))
        and finding.code not in ignored.of(finding.path)
        and finding.certainty.rank <= config.min_certainty.rank
    ]
    return filecheck.unsuppressed(let_through, text)


def _matches(code: str, config: Config) -> bool:
    def among(selectors: Iterable[str]) -> bool:
        return any(each.upper() == "ALL" or code.startswith(each.upper()) for each in selectors)

    return among(config.select) and not among(config.ignore)


def excludes(config: Config, more: Sequence[str], force: bool) -> discovery.Excludes:
    """Return what is left out of a run: the patterns of ``config``, and ``more`` relative to the current folder."""
    patterns = ((config.root, tuple(config.exclude)), (".", tuple(more)))
    return discovery.Excludes(config.root, patterns, config.respect_gitignore, force)


class _Run:
    """The files of one run on their way through reading, checking and counting."""

    def __init__(
        self, targets: Sequence[Target], settings: Settings, ignored: _Ignored, on_progress: Progress | None
    ) -> None:
        self._targets = targets
        self._settings = settings
        self._ignored = ignored
        self._on_progress = on_progress
        self._unread: list[Report] = []
        self._done = 0

    def reports(self, workers: int, executor: Executor | None) -> Generator[Report, None, None]:
        """Yield a report for every file that has anything to say."""
        for batch in self._checked(_batches(self._jobs()), workers, executor):
            self._advance(len(batch))
            yield from batch
        yield from self._unread

    def _checked(self, batches: Iterator[list[Job]], workers: int, executor: Executor | None) -> Iterator[list[Report]]:
        if executor is None:
            first: list[list[Job]] = []
            for batch in batches:
                first.append(batch)
                if workers > 1 and _is_much(first):
                    break
                if workers == 1:
                    yield filecheck.check_batch(first.pop(), self._settings)
            else:
                for batch in first:
                    yield filecheck.check_batch(batch, self._settings)
                return
            batches = chain(first, batches)
        yield from pool.run(iter(batches), self._settings, workers, executor)

    def _jobs(self) -> Iterator[Job]:
        """Read the files; what needs no checking is counted here."""
        for target in self._targets:
            codes = self._ignored.of(target.path)
            try:
                if target.problem:
                    raise reading.NotReadable(target.problem)
                data = reading.read(target.path)
            except reading.NotReadable as error:
                self._unread.append(filecheck.not_analysed(target.shown, error, self._settings, codes))
                self._advance(1)
                continue
            if filecheck.concerns(data):
                yield Job(target.shown, data, codes)
            else:
                self._advance(1)

    def _advance(self, count: int) -> None:
        self._done += count
        if self._on_progress is not None:
            self._on_progress(self._done, len(self._targets))


class _Ignored:
    """The per-file ignores of a configuration."""

    def __init__(self, config: Config) -> None:
        self._root = os.path.abspath(config.root)
        self._rules = [
            (Globs([pattern]), configuration.expand(selectors, config.source or "per-file-ignores"))
            for pattern, selectors in config.per_file_ignores.items()
        ]

    def of(self, path: str) -> frozenset[str]:
        """Return the codes that are ignored in the file ``path``."""
        if not self._rules:
            return frozenset()
        return discovery.ignored_codes(os.path.abspath(path), self._root, self._rules)


def _settings(config: Config, raise_internal_errors: bool) -> Settings:
    always = filecheck.FAILURES - config.ignored()
    return Settings(
        codes=config.codes() | always,
        severities=config.severities(),
        min_certainty=config.min_certainty,
        require_reason=config.require_reason,
        raise_internal_errors=raise_internal_errors,
    )


def _batches(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    batch: list[Job] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += len(job.data)
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_much(batches: Sequence[Sequence[Job]]) -> bool:
    jobs = [job for batch in batches for job in batch]
    return len(jobs) >= _MANY_FILES or sum(len(job.data) for job in jobs) >= _MANY_BYTES


def _result(reports: Iterable[Report], files: int) -> Result:
    done = sorted(reports, key=lambda report: report.path)
    findings = sorted((finding for report in done for finding in report.findings), key=lambda f: f.sort_key)
    excerpts = {(report.path, place): line for report in done for place, line in report.excerpts.items()}
    return Result(tuple(findings), files, tuple(report.path for report in done if report.failed), excerpts)
