"""Several processes, one report: under ``torchrun`` every rank records, and rank 0 joins and reports.

The ranks meet in a folder rather than in the program's process group, which may be gone, broken or stuck when the
program ends. Each announces itself when it starts and leaves its part of the result when its program has ended; rank 0
waits for the parts of those that are still alive. The folder lies on one machine. With several machines only the ranks
beside rank 0 are joined, unless `RENDEZVOUS` names a folder that all of them share.

https://pytorch.org/docs/stable/elastic/run.html#environment-variables describes what ``torchrun`` sets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

RENDEZVOUS = "GRADLINT_RENDEZVOUS"
"""The environment variable that names a folder shared by several machines."""

PATIENCE = 300.0
"""How long rank 0 waits for ranks that are still running, in seconds."""
HURRY = 5.0
"""How long it waits where the program has failed, or for ranks that never came."""

_POLL = 0.05
_QUIET = 2.0


class RendezvousError(OSError):
    """The folder in which the ranks meet cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process among its fellows: ``beside`` are the ranks that can be met in ``folder``, its own included."""

    rank: int
    size: int
    beside: range
    folder: Path

    def part(self, rank: int) -> Path:
        """Return where ``rank`` leaves its part."""
        return self.folder / f"part-{rank}"

    def announcement(self, rank: int) -> Path:
        """Return where ``rank`` says that it has started."""
        return self.folder / f"rank-{rank}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What rank 0 got: the parts, by rank, and why some are missing."""

    parts: dict[int, bytes]
    missing: dict[int, str]

    def notes(self) -> tuple[str, ...]:
        """Say in one line per reason which ranks are missing; nothing if none is."""
        ranks: dict[str, list[int]] = {}
        for rank, reason in sorted(self.missing.items()):
            ranks.setdefault(reason, []).append(rank)
        total = len(self.parts) + len(self.missing)
        return tuple(f"{_named(of)} of {total} {reason}" for reason, of in ranks.items())


def _named(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > 2 and ranks == list(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]} to {ranks[-1]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def is_distributed() -> bool:
    """Tell whether this process is one of several ranks, as ``torchrun`` starts them."""
    return ranks() is not None


def ranks(environment: Mapping[str, str] | None = None) -> Ranks | None:
    """Return this process's place among the ranks that the environment speaks of; None if it is the only one."""
    known = os.environ if environment is None else environment
    rank, size = _number(known, "RANK"), _number(known, "WORLD_SIZE")
    if rank is None or size is None or not 0 <= rank < size or size == 1:
        return None
    here = _number(known, "LOCAL_WORLD_SIZE") or size
    shared = known.get(RENDEZVOUS)
    if shared:
        return Ranks(rank, size, range(size), Path(shared) / _name(known, ""))
    start = rank - (_number(known, "LOCAL_RANK") or 0) if here < size else 0
    # A folder of the launch's own, if it is known: run identifiers and ports are used again.
    attempt = os.path.dirname(os.path.dirname(known.get("TORCHELASTIC_ERROR_FILE", "")))
    return Ranks(rank, size, range(start, start + here), Path(tempfile.gettempdir()) / _name(known, attempt))


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _name(environment: Mapping[str, str], attempt: str) -> str:
    told = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE")
    launch = "\0".join([*(environment.get(name, "") for name in told), attempt])
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return f"gradlint-{user}-{hashlib.sha256(launch.encode()).hexdigest()[:16]}"


def announce(*running: CodeType) -> None:
    """Say that this rank has started, before the program runs. Raises `RendezvousError` if there is no place to.

    ``running`` is the code that runs the program: while it is on the stack of the main thread, SIGTERM ends the
    program; else it lets the report be finished, as after `shield`.
    """
    own = ranks()
    if own is None:
        return
    _signals.guard(running)
    try:
        own.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = own.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            raise RendezvousError(f"{own.folder}: it belongs to somebody else")
        own.part(own.rank).unlink(missing_ok=True)  # of an earlier launch that was called the same
        _write(own.announcement(own.rank), f"{socket.gethostname()} {os.getpid()}".encode())
    except RendezvousError:
        raise
    except OSError as error:
        raise RendezvousError(f"{own.folder}: the ranks cannot meet here: {error.strerror}") from None


def gather(part: bytes, patience: float = PATIENCE, *, say: Callable[[str], object] | None = None) -> Gathered | None:
    """Leave ``part`` for rank 0; return on rank 0 what all ranks left, and None on the others.

    Rank 0 waits for ranks that run on: ``patience`` seconds at most (pass `HURRY` if the program failed, since others
    may wait for this rank), and no longer than `HURRY` when it is told to end. It does not wait for a rank that has
    ended without leaving anything. ``say`` is told once in words for whom it waits, or that there is no rank 0 any
    more. Where this is the only process, its part is all there is. Raises `RendezvousError`.
    """
    own = ranks()
    if own is None:
        return Gathered({0: part}, {})
    if own.rank == 0:
        gathered = _gathered(own, part, patience, say)
        shutil.rmtree(own.folder, ignore_errors=True)
        return gathered
    _leave(own, part)
    if _reason(own, 0, 0.0) == _ENDED:
        shutil.rmtree(own.folder, ignore_errors=True)
        if say is not None:
            say("rank 0 has ended: there will be no report")
    return None


def _gathered(own: Ranks, part: bytes, patience: float, say: Callable[[str], object] | None) -> Gathered:
    parts = {0: part}
    missing = {rank: _ELSEWHERE for rank in range(own.size) if rank not in own.beside}
    waiting = set(own.beside) - {0}
    began = time.monotonic()
    until = began + patience
    while waiting:
        waited = time.monotonic() - began
        for rank in sorted(waiting):
            missing[rank] = _reason(own, rank, waited)
            # It may have left its part and ended just now: look for the part after looking at the process.
            if (left := _read(own.part(rank))) is not None:
                parts[rank] = left
                del missing[rank]
        waiting = {rank for rank in waiting if missing.get(rank) == _RUNNING}
        if _signals.hurried.is_set():
            _signals.hurried.clear()
            until = min(until, time.monotonic() + HURRY)
        if not waiting or time.monotonic() >= until:
            break
        if say is not None and waited > _QUIET:
            say(f"waiting for {_named(sorted(waiting))}")
            say = None
        time.sleep(_POLL)
    return Gathered(dict(sorted(parts.items())), missing)


_RUNNING = "did not end its program in time"
_ENDED = "ended before it could report"
_ELSEWHERE = f"ran on another machine; set {RENDEZVOUS} to a folder that all machines share"


def _reason(own: Ranks, rank: int, waited: float) -> str:
    """Say what is the matter with a rank that has left nothing yet; `_RUNNING` if it may still do so."""
    announced = _read(own.announcement(rank))
    if announced is None:
        return _RUNNING if waited < HURRY else "never started"
    host, _, process = announced.decode().rpartition(" ")
    if host != socket.gethostname() or _is_alive(int(process)):
        return _RUNNING
    return _ENDED


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 is an event that ends processes
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _leave(own: Ranks, part: bytes) -> None:
    try:
        _write(own.part(own.rank), part)
    except FileNotFoundError:
        return  # rank 0 waits no longer
    except OSError as error:
        raise RendezvousError(f"{own.folder}: rank {own.rank} cannot leave its part: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Write a file that is either there and whole or not there."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


class _Signals:
    """What signals do to a rank: they end its program, but not its report."""

    def __init__(self) -> None:
        self.hurried = threading.Event()
        self._running: frozenset[CodeType] = frozenset()
        self._interrupt: Any = signal.default_int_handler

    def guard(self, running: Iterable[CodeType]) -> None:
        """Let SIGTERM end the program while one of ``running`` is on the stack, and `hurry` otherwise."""
        self._running = frozenset(running)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminate)

    def shield(self) -> None:
        """Let SIGTERM, and SIGINT the first time, only `hurry`; the program may have set handlers of its own."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hurry)
            self._interrupt = signal.signal(signal.SIGINT, self._hurry) or signal.SIG_DFL

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code in self._running:
                sys.exit(128 + number)
            frame = frame.f_back
        self.hurried.set()

    def _hurry(self, number: int, _: object) -> None:
        self.hurried.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._interrupt)


_signals = _Signals()


def shield() -> None:
    """Let the report be finished; for every rank to call when its program has ended.

    ``torchrun`` ends all ranks as soon as one has failed: it sends SIGTERM, and SIGKILL 30 seconds later. From now on
    SIGTERM, and SIGINT the first time, only make `gather` wait no longer than `HURRY`.
    """
    if is_distributed():
        _signals.shield()
