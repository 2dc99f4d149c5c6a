"""What a whole process costs: wall time, processor time of it and of the processes it started, peak memory."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """One run. ``timed_out`` means that it was stopped, so the times are lower bounds."""

    wall: float
    cpu: float
    megabytes: float
    exit_code: int
    timed_out: bool = False


@dataclass(frozen=True)
class Costs:
    """Several runs of one command; the properties are medians."""

    runs: tuple[Cost, ...]

    @property
    def wall(self) -> float:
        """Wall seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Processor seconds, children included."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def megabytes(self) -> float:
        """Peak resident memory of the largest single process."""
        return max(run.megabytes for run in self.runs)

    @property
    def timed_out(self) -> bool:
        """True when any run was stopped."""
        return any(run.timed_out for run in self.runs)

    @property
    def exit_codes(self) -> list[int]:
        """The different exit codes, sorted."""
        return sorted({run.exit_code for run in self.runs})


def measure(command: Sequence[str], cwd: Path, timeout: float, variables: Mapping[str, str] | None = None) -> Cost:
    """Run ``command`` to its end, without its output, or stop it and all it started after ``timeout`` seconds."""
    stopped = threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def stop() -> None:
        stopped.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, stop)
    timer.start()
    # wait4 is the only call that gives the costs of this one child and its own children.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss / unit, process.returncode, stopped.is_set())


def pin(processors: int) -> int:
    """Keep this process and all it starts on at most ``processors`` of its processors; returns how many it has."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    mine = sorted(os.sched_getaffinity(0))[:processors]
    os.sched_setaffinity(0, mine)
    return len(mine)
