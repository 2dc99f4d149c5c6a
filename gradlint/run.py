"""The files of one run on their way through reading, checking and linking.

Every file is checked alone first. What the files tell each other (`gradlint.linking`) may change what is known of some,
which are then checked again. All files of a round know what the others told in the round before, so neither their
order nor the number of processes makes a difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from gradlint import filecheck, garbage
from gradlint.filecheck import ELSEWHERE, Job, Report, Settings
from gradlint.pool import Workers
from gradlint.source import naming, reading
from gradlint.source.discovery import Target

if TYPE_CHECKING:
    from gradlint.linking.interface import Interface, View
    from gradlint.linking.link import Link
    from gradlint.linking.reads import Reads

# Below either of these, starting processes takes longer than doing the work.
_MANY_FILES = 40
_MANY_BYTES = 1_000_000
_BATCH_FILES = 20
_BATCH_BYTES = 200_000
MOST_ROUNDS = 6
"""How often files are checked again. Who calls what in which mode is known from the first; what a function does to its
arguments comes one call further in each round. Ways of more calls through as many files are rare, and what is not known
is not reported.
"""

Progress = Callable[[int, int], None]
"""Is called with the number of files done and the number of files."""


@dataclass(slots=True)
class _File:
    """A file: what it is called among those it is linked with, a hash of its bytes, and the last word on it."""

    target: Target
    name: str
    ignored: frozenset[str]
    mark: int = 0
    report: Report | None = None


class Run:
    """The files of one run. ``ignored`` returns for a path the codes that are ignored there."""

    def __init__(
        self,
        targets: Sequence[Target],
        settings: Settings,
        ignored: Callable[[str], frozenset[str]],
        on_progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        names = _names(targets) if settings.link and len(targets) > 1 else [""] * len(targets)
        self._files = [_File(target, name, ignored(target.path)) for target, name in zip(targets, names, strict=True)]
        self._shown = {file.target.shown: file for file in self._files}
        self._on_progress = on_progress
        self._done = 0
        self._told: dict[str, tuple[bytes, Reads | None]] = {}
        self._interfaces: dict[str, Interface] = {}

    def reports(self, workers: Workers) -> list[Report]:
        """Check the files; return a report for every one that has anything to say."""
        with garbage.put_off():
            self._check(_batches(self._jobs(), _BATCH_FILES), workers)
            unlinked = self._link(workers) if self._told else []
        shown = {ELSEWHERE + file.name: file.target.shown for file in self._files}
        return [_with_paths(file.report, shown) for file in self._files if file.report is not None] + unlinked

    def text(self, shown: str) -> str | None:
        """Return the text of the file ``shown``; None if it is not there any more as it was checked."""
        file = self._shown.get(shown)
        data = _unchanged(file) if file is not None else None
        try:
            return reading.decode(shown, data).text if data is not None else None
        except reading.NotReadable:
            return None

    # -- linking -------------------------------------------------------------------------------------------

    def _link(self, workers: Workers) -> list[Report]:
        """Check again the files that others tell something, in rounds; a report tells if this could not be done."""
        from gradlint.linking.link import Link

        link = Link()
        for _ in range(MOST_ROUNDS):
            try:
                views = self._views(link)
            except Exception as error:
                if self._settings.raise_internal_errors:
                    raise
                first = self._files[0]
                return [filecheck.not_linked(first.target.shown, error, self._settings, first.ignored)]
            again = [(file, views[file.name]) for file in self._files if _is_asked(file, views)]
            if not again:
                break
            size = max(1, min(_BATCH_FILES, len(again) // (2 * workers.count)))
            self._check(_batches(_jobs_again(again), size), workers)
        return []

    def _views(self, link: Link) -> dict[str, View]:
        """Pass on what the files told since this was asked last; return what they are told in return."""
        from gradlint.linking.completing import retold
        from gradlint.linking.interface import decode_interface

        for name, (data, reads) in sorted(self._told.items()):
            told, before = decode_interface(data), self._interfaces.get(name)
            self._interfaces[name] = told if before is None else retold(told, before)
            link.tell(self._interfaces[name], reads)
        self._told.clear()
        return link.views()

    # -- checking ------------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        """Read the files; what needs no checking is counted here."""
        for file in self._files:
            try:
                if file.target.problem:
                    raise reading.NotReadable(file.target.problem)
                data = reading.read(file.target.path)
            except reading.NotReadable as error:
                file.report = filecheck.not_analysed(file.target.shown, error, self._settings, file.ignored)
                self._advance(1)
                continue
            file.mark = hash(data)
            if filecheck.concerns(data):
                yield Job(file.target.shown, data, file.ignored, file.name)
                continue
            if file.name:
                self._told[file.name] = filecheck.told_of_nothing(file.name), None
            self._advance(1)

    def _check(self, batches: Iterator[list[Job]], workers: Workers) -> None:
        """Check files; their reports take the place of those before."""
        for reports in self._checked(batches, workers):
            for report in reports:
                file = self._shown[report.path]
                file.report = report
                if report.told is not None:
                    self._told[file.name] = report.told, report.reads
            self._advance(len(reports))

    def _checked(self, batches: Iterator[list[Job]], workers: Workers) -> Iterator[list[Report]]:
        if not workers.ready:
            first: list[list[Job]] = []
            for batch in batches:
                first.append(batch)
                if workers.count > 1 and _is_much(first):
                    break
                if workers.count == 1:
                    yield filecheck.check_batch(first.pop(), self._settings)
            else:
                for batch in first:
                    yield filecheck.check_batch(batch, self._settings)
                return
            batches = chain(first, batches)
        yield from workers.check(batches)

    def _advance(self, count: int) -> None:
        """Say how far it is. A file that is checked again has been counted."""
        self._done = min(self._done + count, len(self._files))
        if self._on_progress is not None:
            self._on_progress(self._done, len(self._files))


def _names(targets: Sequence[Target]) -> list[str]:
    """Return what the files are called among each other; a path that can be no file has no name."""
    known = [target for target in targets if os.path.isabs(target.real) and "\0" not in target.real]
    names = dict(zip(known, naming.names([target.real for target in known]), strict=True))
    return [names.get(target, "") for target in targets]


def _is_asked(file: _File, views: dict[str, View]) -> bool:
    """Whether a file is to be checked again: it is told something, and has something in it that can depend on it."""
    if file.report is None or file.name not in views:
        return False
    return not file.report.quiet or bool(views[file.name].asked)


def _jobs_again(again: Iterable[tuple[_File, View]]) -> Iterator[Job]:
    """Read files again; one that has changed meanwhile keeps its report."""
    from gradlint.linking.interface import encode

    for file, view in again:
        data = _unchanged(file)
        if data is not None:
            yield Job(file.target.shown, data, file.ignored, file.name, encode(view))


def _unchanged(file: _File) -> bytes | None:
    try:
        data = reading.read(file.target.path)
    except reading.NotReadable:
        return None
    return data if hash(data) == file.mark else None


def _batches(jobs: Iterator[Job], most: int) -> Iterator[list[Job]]:
    batch: list[Job] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += len(job.data)
        if len(batch) >= most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_much(batches: Sequence[Sequence[Job]]) -> bool:
    jobs = [job for batch in batches for job in batch]
    return len(jobs) >= _MANY_FILES or sum(len(job.data) for job in jobs) >= _MANY_BYTES


def _with_paths(report: Report, shown: dict[str, str]) -> Report:
    """Return the report with the files that evidence lies in called as they are shown."""
    if not any(step.path in shown for finding in report.findings for step in finding.evidence):
        return report
    findings = (
        replace(
            finding, evidence=tuple(replace(step, path=shown.get(step.path, step.path)) for step in finding.evidence)
        )
        for finding in report.findings
    )
    return replace(report, findings=tuple(findings))
