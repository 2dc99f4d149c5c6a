"""Files in, findings out: the public functions, whatever runs them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from gradlint import config as configuration
from gradlint import excerpts, filecheck, pool, registry, silencing
from gradlint.codes import FAILURES
from gradlint.config import Config
from gradlint.filecheck import Job, Report, Settings
from gradlint.finding import Finding, Location
from gradlint.run import Progress, Run
from gradlint.source import discovery, reading
from gradlint.source.globs import Globs
from gradlint.source.positions import Excerpt


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. ``failed`` are the files of which some part was not analysed, ``files`` counts them all.

    ``excerpts`` holds the source lines that findings and their evidence point at, as far as they are to be had.
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

    What the files call in each other is followed, unless ``config`` says otherwise.

    A file that cannot be read or analysed is a finding, not an exception. `ConfigError` is raised for settings
    that cannot be followed.
    """
    given = [os.fspath(path) for path in paths]
    config = config or configuration.find(given[0] if given else ".")
    settings = _settings(config, raise_internal_errors)
    targets = discovery.discover(given, excludes(config, exclude, force_exclude))
    run = Run(targets, settings, _Ignored(config).of, on_progress)
    count = max(1, jobs if jobs is not None else pool.processors())
    with pool.Workers(count, settings, executor) as workers:
        result = _result(run.reports(workers), len(targets))
    more = excerpts.missing(result.findings, result.excerpts, run.text)
    return replace(result, excerpts={**result.excerpts, **more})


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
    return silencing.unsuppressed(let_through, text)


def _matches(code: str, config: Config) -> bool:
    def among(selectors: Iterable[str]) -> bool:
        return any(each.upper() == "ALL" or code.startswith(each.upper()) for each in selectors)

    return among(config.select) and not among(config.ignore)


def excludes(config: Config, more: Sequence[str], force: bool) -> discovery.Excludes:
    """Return what is left out of a run: the patterns of ``config``, and ``more`` relative to the current folder."""
    patterns = ((config.root, tuple(config.exclude)), (".", tuple(more)))
    return discovery.Excludes(config.root, patterns, config.respect_gitignore, force)


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
    always = FAILURES - config.ignored()
    return Settings(
        codes=config.codes() | always,
        severities=config.severities(),
        min_certainty=config.min_certainty,
        require_reason=config.require_reason,
        raise_internal_errors=raise_internal_errors,
        link=config.link,
        contracts=config.contracts,
    )


def _result(reports: Iterable[Report], files: int) -> Result:
    done = sorted(reports, key=lambda report: report.path)
    findings = sorted((finding for report in done for finding in report.findings), key=lambda f: f.sort_key)
    lines = {(report.path, place): line for report in done for place, line in report.excerpts.items()}
    failed = dict.fromkeys(report.path for report in done if report.failed)
    return Result(tuple(findings), files, tuple(failed), lines)
