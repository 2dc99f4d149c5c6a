"""Worker processes that may die.

A batch goes to a pool of processes. If one of them dies (the kernel's memory killer, a fault in an extension),
the pool is lost with all that it was given; those files are then checked one at a time, each in a process that
nothing else depends on, so that only the guilty one is reported, and a fresh pool takes the rest.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any

from gradlint import filecheck
from gradlint.filecheck import Job, Report, Settings

# So many batches per worker are under way or waiting: enough to keep it busy, few enough to fit in memory.
_AHEAD = 3


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """``count`` processes that are started when there is something to do, and wait for more until the ``with`` ends.

    If an ``executor`` is given it takes their place until it breaks.
    """

    def __init__(self, count: int, settings: Settings, executor: Executor | None = None) -> None:
        self.count = count
        self._settings = settings
        self._executor = executor
        self._own = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._own.__exit__(*raised)

    @property
    def ready(self) -> bool:
        """Whether there is somebody to give work to at once."""
        return self._executor is not None

    def check(self, batches: Iterator[list[Job]]) -> Iterator[list[Report]]:
        """Yield the reports of all ``batches``, in any order."""
        while True:
            if self._executor is None:
                self._executor = self._own.enter_context(_pool(self.count))
            lost: list[Job] = []
            yield from _feed(self._executor, batches, self._settings, self.count * _AHEAD, lost)
            if not lost:
                return
            self._own.close()
            self._executor = None
            yield from _one_by_one(lost, self._settings)


def _feed(
    executor: Executor, batches: Iterator[list[Job]], settings: Settings, limit: int, lost: list[Job]
) -> Iterator[list[Report]]:
    """Yield reports until the batches or the executor are at their end; ``lost`` receives what it did not do."""
    waiting: dict[Future[list[Report]], list[Job]] = {}
    while True:
        while not lost and len(waiting) < limit and (batch := next(batches, None)) is not None:
            try:
                waiting[executor.submit(filecheck.check_batch, batch, settings)] = batch
            except BrokenExecutor:
                lost += batch
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            batch = waiting.pop(future)
            try:
                yield future.result()
            except BrokenExecutor:
                lost += batch


def _one_by_one(jobs: Sequence[Job], settings: Settings) -> Iterator[list[Report]]:
    rest = list(reversed(jobs))
    while rest:
        with _pool(1) as pool:
            while rest:
                job = rest.pop()
                try:
                    yield pool.submit(filecheck.check_batch, [job], settings).result()
                except BrokenExecutor:
                    yield [filecheck.died(job, settings)]
                    break


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool whose processes are gone at the end, however it comes: on Ctrl-C they are not waited for."""
    older = set(multiprocessing.active_children())
    context = multiprocessing.get_context("fork" if _may_fork() else "spawn")
    pool = ProcessPoolExecutor(workers, context, _begin)
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - older:
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _may_fork() -> bool:
    """Forking is fast and keeps what is imported, but is safe only where it is the custom and from a single thread."""
    if sys.platform != "linux":
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return threading.active_count() == 1


def _begin() -> None:
    """Prepare a worker: the parent alone hears Ctrl-C, and when it dies the worker goes too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    filecheck.load()
    # Whatever is loaded stays: collections need not look at it.
    gc.freeze()
    gc.disable()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
