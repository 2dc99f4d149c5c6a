"""``verify_program()``: run a program, lint the code that ran, and say of each finding what the run shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from gradlint.codes import FAILURES
from gradlint.config import Config
from gradlint.engine import admit
from gradlint.finding import Certainty, Finding, Location
from gradlint.runtime.claims import verify
from gradlint.runtime.merging import merge
from gradlint.runtime.observations import observe, unforeseen
from gradlint.runtime.place import Place
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording, at, covers
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify import distributed
from gradlint.runtime.verify.loader import SourceHook
from gradlint.runtime.verify.program import NotRunnable, Program
from gradlint.runtime.verify.run import RUNS, exit_code, run
from gradlint.source.positions import Excerpt, Lines

Excerpts = Mapping[tuple[str, Location], Excerpt]


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of a run: the verdict of each finding in the files that ran, sorted by place, and the recording.

    ``code`` is the exit code of ``program``. ``files`` counts the linted files, ``failures`` say what of them was not
    analysed; ``excerpts`` hold the lines that findings point at.
    """

    program: str
    code: int
    verified: tuple[Verified, ...]
    recording: Recording
    files: int
    failures: tuple[Finding, ...]
    excerpts: Excerpts

    @property
    def is_confirmed(self) -> bool:
        """Whether the run confirms any finding."""
        return any(each.verdict is Verdict.CONFIRMED for each in self.verified)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process contributes: its recording, its files and how often their probes were reached."""

    recording: Recording
    files: tuple[str, ...]
    hits: tuple[tuple[str, Location, int], ...]


def verify_program(
    program: Program,
    config: Config,
    *,
    level: int = 3,
    include: Sequence[str] = (),
    say: Callable[[str], object] | None = None,
) -> tuple[int, Verification | None]:
    """Run ``program`` under ``record(level)``; return its exit code and what is to be reported.

    Modules of the user's are linted with ``config`` when they are loaded; ``include`` names installed packages that
    count among them. Whatever the program raises is printed as Python does and ends there. Nothing is to be reported
    (None) by a process that the program has forked, nor by any rank but 0 of several that run the program; ``say`` is
    told whom rank 0 waits for. Raises `gradlint.runtime.verify.program.NotRunnable` if there is no such program,
    and `gradlint.runtime.verify.distributed.RendezvousError` if ranks cannot meet.
    """
    here, process = os.getcwd(), os.getpid()
    distributed.announce(*RUNS)
    hook = SourceHook(config, [program.folder], include)
    recording, error = _recorded(program, hook, level)
    distributed.shield()
    code = exit_code(error)
    if os.getpid() != process:
        return code, None
    with suppress(OSError):  # the folder is gone
        os.chdir(here)
    hook.lint_loaded(row.place.path for row in recording.rows())
    parts = _gathered(_part(recording, hook), say)
    if parts is None:
        return code, None
    hook.lint_loaded(path for part in parts for path in part.files)
    return code, _verification(program, code, parts, hook, config)


def encoded_part(recording: Recording, hook: SourceHook) -> bytes:
    """Return what this process contributes to a verification of what several processes run; see `joined`."""
    hook.lint_loaded(row.place.path for row in recording.rows())
    return msgspec.json.encode(_part(recording, hook))


def joined(what: str, parts: Sequence[bytes], hook: SourceHook, config: Config) -> Verification:
    """Return the verification of ``what`` from the parts of the processes that ran it, at least one.

    ``hook`` may be one that was never installed: it lints the files of all parts.
    """
    decoded = [msgspec.json.decode(part, type=_Part) for part in parts]
    hook.lint_loaded(path for part in decoded for path in part.files)
    return _verification(what, 0, decoded, hook, config)


def _recorded(program: Program, hook: SourceHook, level: int) -> tuple[Recording, BaseException | None]:
    """Run the program; return what was recorded, and the exception that ended it."""
    ended: BaseException | None = None
    recording = Recording(level)
    try:
        with hook, record(level) as recording:
            try:
                run(program, hook)
            except BaseException as error:
                ended = error
                raise
    except NotRunnable:
        raise
    except BaseException as error:
        if error is not ended:
            raise
    return recording, ended


def _part(recording: Recording, hook: SourceHook) -> _Part:
    files = hook.files
    hits = [(file.path, place, hook.hits(file.path, place) or 0) for file in files for place in file.probes or ()]
    if recording.compiled:
        # What runs compiled is not counted; code that was never counted may have run as a part of it.
        hits = [(path, place, count) for path, place, count in hits if count]
    return _Part(recording, tuple(file.path for file in files), tuple(hits))


def _gathered(part: _Part, say: Callable[[str], object] | None) -> list[_Part] | None:
    """Return the parts of all ranks; None on all ranks but 0."""
    if not distributed.is_distributed():
        return [part]
    patience = distributed.HURRY if part.recording.raised else distributed.PATIENCE
    gathered = distributed.gather(msgspec.json.encode(part), patience, say=say)
    if gathered is None:
        return None
    parts = [msgspec.json.decode(data, type=_Part) for data in gathered.parts.values()]
    parts[0].recording.notes += gathered.notes()
    return parts


def _verification(
    program: Program | str, code: int, parts: Sequence[_Part], hook: SourceHook, config: Config
) -> Verification:
    recording = merge([part.recording for part in parts]) if len(parts) > 1 else parts[0].recording
    hits: Counter[tuple[str, Location]] = Counter()
    for part in parts:
        hits.update({(path, place): count for path, place, count in part.hits})

    def reached(finding: Finding) -> int | None:
        return hits.get((os.path.abspath(finding.path), finding.location))

    files = hook.files
    findings = [finding for file in files for finding in file.findings]
    verified = verify(findings, recording, reached)
    verified += _unforeseen(recording, findings, hook, config)
    return Verification(
        program=str(program),
        code=code,
        verified=tuple(sorted(verified, key=lambda each: each.finding.sort_key)),
        recording=recording,
        files=len(files),
        failures=tuple(each for file in files for each in file.result.findings if each.code in FAILURES),
        excerpts=_excerpts(verified, hook),
    )


def _unforeseen(
    recording: Recording, findings: Sequence[Finding], hook: SourceHook, config: Config
) -> Iterator[Verified]:
    """Yield what the run showed in the linted files and no finding foresaw, as far as the settings let it through."""
    by_file: dict[str, list[Verified]] = {}
    for each in unforeseen(observe(recording, possible=config.min_certainty is Certainty.POSSIBLE), findings):
        same_rule = [finding for finding in findings if finding.code == each.finding.code]
        if not _is_called_from(each.finding, same_rule, recording):
            by_file.setdefault(os.path.abspath(each.finding.path), []).append(each)
    for path, observed in by_file.items():
        text = hook.text(path)
        if text is None:
            continue
        admitted = {finding.sort_key: finding for finding in admit([each.finding for each in observed], text, config)}
        for each in observed:
            if each.finding.sort_key in admitted:
                yield replace(each, finding=admitted[each.finding.sort_key])


def _is_called_from(seen: Finding, findings: Sequence[Finding], recording: Recording) -> bool:
    """Tell whether what was seen always happened in a call that one of ``findings`` points at."""
    rows = at(recording.rows(), os.path.abspath(seen.path), seen.location)
    chains: list[Sequence[Place]] = [getattr(row, "callers", ()) for row in rows]
    places = [(os.path.abspath(finding.path), finding.location) for finding in findings]
    return bool(chains) and all(
        any(place.path == path and covers(location, place.location) for place in chain for path, location in places)
        for chain in chains
    )


def _excerpts(verified: Iterable[Verified], hook: SourceHook) -> Excerpts:
    """Return the lines of the linted files that findings and their evidence point at."""
    found = {(path, place): excerpt for file in hook.files for (path, place), excerpt in file.result.excerpts.items()}
    for each in verified:
        places = [(each.finding.path, each.finding.location)]
        places += [(step.path, step.location) for step in each.finding.evidence]
        for path, place in places:
            text = hook.text(path) if (path, place) not in found else None
            if text is not None:
                found[path, place] = Lines(text).excerpt(place)
    return found
