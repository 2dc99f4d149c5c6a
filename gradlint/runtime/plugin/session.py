"""``pytest --gradlint``: record a whole session of tests, in one process or several, and report verdicts at its end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from typing import Any

import msgspec
import pytest

from gradlint import config as configuration
from gradlint import engine
from gradlint.config import Config, ConfigError
from gradlint.registry import RegistryError
from gradlint.report import verdicts
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify.loader import SourceHook
from gradlint.runtime.verify.verification import Verification, encoded_part, joined
from gradlint.source import discovery

_OUTPUT = "gradlint"


class _Worker(msgspec.Struct):
    """What a worker of pytest-xdist sends: its part of the verification (JSON), and the files of its tests."""

    part: str
    tests: list[str]


class Session:
    """Records from `begin` to the end of the session, and reports what the run says about the findings in ``path``.

    The controller of pytest-xdist records nothing itself: it joins what its workers have seen.
    """

    def __init__(self, settings: Config, path: str, include: Sequence[str]) -> None:
        self._settings = settings
        self._path = path
        self._hook = SourceHook(settings, [path if os.path.isdir(path) else os.path.dirname(path)], include)
        self._stack = ExitStack()
        self._recording: Recording | None = None
        self._tests: set[str] = set()
        self._workers: list[_Worker] = []
        self._lost = 0
        self._verification: Verification | None = None

    @classmethod
    def begin(cls, config: pytest.Config, path: str, level: int) -> Session:
        """Begin to record, unless this process only controls others. Raises `pytest.UsageError` for bad settings."""
        here = os.fspath(config.invocation_params.dir)
        found, include = _found(os.path.join(here, path) if path else os.fspath(config.rootpath), path)
        try:
            settings = configuration.find(found if os.path.isdir(found) else os.path.dirname(found))
            settings.codes(), settings.severities()  # or a bad setting would show when the first module is imported
        except (ConfigError, RegistryError) as error:
            raise pytest.UsageError(str(error)) from None
        session = cls(settings, found, include)
        if not _controls_workers(config):
            session._stack.enter_context(session._hook)
            session._recording = session._stack.enter_context(record(level))
        return session

    def stop(self) -> None:
        """Stop recording; does nothing the second time."""
        self._stack.close()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember which files hold tests: they are not what is tested."""
        self._tests |= {os.fspath(item.path) for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker has seen."""
        output = getattr(node, "workeroutput", None) or {}
        if _OUTPUT in output:
            self._workers.append(msgspec.json.decode(output[_OUTPUT], type=_Worker))
        else:
            self._lost += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send what was seen to the controller, or judge the findings by it."""
        self.stop()
        if session.config.option.collectonly:
            return
        if self._recording is not None and not self._workers:
            part = encoded_part(self._recording, self._hook).decode()
            worker = _Worker(part, sorted(self._tests))
            if hasattr(session.config, "workeroutput"):
                session.config.workeroutput[_OUTPUT] = msgspec.json.encode(worker).decode()
                return
            self._workers.append(worker)
        if not self._workers:
            return
        self._verification = self._verified()
        confirmed = any(each.verdict is Verdict.CONFIRMED for each in self._verification.verified)
        if confirmed and not session.config.option.gradlint_exit_zero and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the verdicts."""
        if config.option.collectonly:
            return
        terminalreporter.section("gradlint")
        if self._verification is None:
            terminalreporter.write_line("no verdicts: no process came to the end of its tests")
            return
        text = StringIO()
        verdicts.write(self._verification, "full", text)
        terminalreporter.write_line(text.getvalue().rstrip())
        confirmed = sum(each.verdict is Verdict.CONFIRMED for each in self._verification.verified)
        if confirmed and not config.option.gradlint_exit_zero:
            terminalreporter.write_line(
                "Confirmed findings fail the session; --gradlint-exit-zero lets it pass", red=True
            )

    def _verified(self) -> Verification:
        """Judge the findings in the tested path by what all processes have seen."""
        shown = os.path.relpath(self._path)
        found = joined(
            f"pytest --gradlint={shown}", [each.part.encode() for each in self._workers], self._hook, self._settings
        )
        tests = {path for worker in self._workers for path in worker.tests}
        loaded = {os.path.abspath(file.path) for file in self._hook.files}
        idle = self._not_loaded(loaded | tests)
        verified = [
            *(each for each in found.verified if self._is_tested(each.finding.path, tests)),
            *(Verified(finding, Verdict.NOT_REACHED) for finding in idle.findings),
        ]
        if self._lost:
            lost = "a worker" if self._lost == 1 else f"{self._lost} workers"
            found.recording.notes += (f"{lost} did not come to an end: what happened there is missing",)
        return replace(
            found,
            verified=tuple(sorted(verified, key=lambda each: each.finding.sort_key)),
            failures=tuple(each for each in found.failures if self._is_tested(each.path, tests)),
            files=sum(self._is_tested(path, tests) for path in loaded) + idle.files,
            excerpts={**found.excerpts, **idle.excerpts},
        )

    def _is_tested(self, path: str, tests: Iterable[str]) -> bool:
        path = os.path.abspath(path)
        inside = path == self._path or path.startswith(os.path.join(self._path, ""))
        return inside and path not in tests and os.path.basename(path) != "conftest.py"

    def _not_loaded(self, known: Iterable[str]) -> engine.Result:
        """Lint the files of the tested path that nobody has loaded."""
        targets = discovery.discover([self._path], engine.excludes(self._settings, (), False))
        paths = [target.path for target in targets if self._is_tested(target.path, known)]
        return engine.check_paths(paths, self._settings, jobs=1) if paths else engine.Result((), 0)


def _found(path: str, given: str) -> tuple[str, tuple[str, ...]]:
    """Return the absolute path of the file, folder or package that was named, and the package's name if it was one."""
    if os.path.exists(path):
        return os.path.abspath(path), ()
    here, parts = os.path.dirname(path), given.split(".")
    # What pytest will put on `sys.path` is not there yet.
    places = [os.path.join(folder, parts[0]) for folder in (here, os.path.join(here, "src"))]
    for place in (*places, *_installed(parts[0])):
        for ending in ("", ".py"):
            found = os.path.join(place, *parts[1:]) + ending
            if os.path.exists(found):
                return os.path.abspath(found), (given,)
    raise pytest.UsageError(f"--gradlint={given}: there is no such file, folder or package")


def _installed(package: str) -> list[str]:
    """Return the folders of a package that can be imported, or the module's path without its ending."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    return list(spec.submodule_search_locations or [os.path.splitext(spec.origin or package)[0]])


def _controls_workers(config: pytest.Config) -> bool:
    """Tell whether pytest-xdist will run the tests in other processes than this one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return False
    options = config.known_args_namespace
    return bool(getattr(options, "numprocesses", None) or getattr(options, "tx", None))
