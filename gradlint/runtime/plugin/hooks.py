"""What the pytest plugin does once it is asked for: keep the gradient mode, keep tests to their marks, record."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from gradlint.runtime.checks.cause import Cause
from gradlint.runtime.checks.putback import LeftMode, put_back, restoring, switched_by
from gradlint.runtime.observations import observe
from gradlint.runtime.place import place_of
from gradlint.runtime.plugin.marked import MarkError, Marks, keeping, marks_of
from gradlint.runtime.plugin.session import Session
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Mode, Recording
from gradlint.runtime.verify.tracebacks import without_ours
from gradlint.runtime.watch.modes import mode_now

_MARKS = pytest.StashKey[Marks]()
_PROBLEM = pytest.StashKey[str]()
_SECTION = "gradlint"


def watch_session(config: pytest.Config, path: str, level: int) -> None:
    """Begin ``--gradlint``: record until the session ends, and look after the gradient mode of every test.

    Raises `pytest.UsageError` if there is nothing at ``path``.
    """
    session = Session.begin(config, path, level)
    config.pluginmanager.register(session, "gradlint-session")
    config.add_cleanup(session.stop)
    _register(config, Fixtures(), "gradlint-fixtures")
    _register(config, Tests(every=True), "gradlint-tests")


def watch_marked(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Keep ``items`` to their marks. Raises `pytest.UsageError` for marks that cannot be understood."""
    for item in items:
        try:
            marks = marks_of(item)
        except pytest.UsageError as error:
            if not hasattr(config, "workerinput"):
                raise
            # pytest-xdist would report an internal error of its own.
            item.stash[_PROBLEM] = str(error)
            marks = None
        if marks is not None:
            item.stash[_MARKS] = marks
    _register(config, Tests(every=False), "gradlint-tests")


def recorder(item: pytest.Item) -> Callable[..., AbstractContextManager[Recording]]:
    """Return `record` for the test ``item``; what a recording shows becomes part of the test's report."""

    @contextmanager
    def grad_recorder(level: int = 1) -> Iterator[Recording]:
        with record(level) as recording:
            yield recording
        for each in observe(recording):
            finding = each.finding
            place = f"{finding.path}:{finding.location.line}:{finding.location.column}"
            text = "\n".join(
                [f"{place}: {finding.code} {finding.message}", *(f"  {figure}" for figure in each.figures)]
            )
            item.add_report_section("call", _SECTION, text)

    return grad_recorder


def _register(config: pytest.Config, plugin: object, name: str) -> None:
    if not config.pluginmanager.has_plugin(name):
        config.pluginmanager.register(plugin, name)


@dataclass(slots=True)
class Tests:
    """Fails tests that leave the gradient mode changed or break their marks: ``every`` test, or marked ones only."""

    every: bool

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Fail a test whose marker cannot be understood."""
        if problem := item.stash.get(_PROBLEM, ""):
            pytest.fail(problem, pytrace=False)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Watch the test itself, from what its fixtures have set."""
        marks = item.stash.get(_MARKS, None)
        if marks is None and not self.every:
            return (yield)
        broken: list[str] = []
        watch = keeping(marks, getattr(item, "funcargs", {})) if marks is not None else nullcontext(broken)
        result, error = None, None
        try:
            with restoring() as left, watch as broken:
                result = yield
        except BaseException as raised:
            error = raised
        if isinstance(error, MarkError):
            pytest.fail(str(error), pytrace=False)
        if error is not None:
            if left.changed:
                item.add_report_section("call", _SECTION, left.message("the test"))
            raise error.with_traceback(without_ours(error.__traceback__))
        if left.changed:
            broken.insert(0, left.message("the test"))
        if broken:
            pytest.fail("\n\n".join(broken), pytrace=False)
        return result


@dataclass(slots=True)
class _Ended:
    """A fixture that was torn down: what was in force before it was set up, and what afterwards."""

    name: str
    function: Callable[..., Any]
    before: Mode
    after: Mode
    recording: Recording


class Fixtures:
    """Fails the teardown in which fixtures have left another gradient mode than they had found."""

    def __init__(self) -> None:
        self._found: dict[Any, tuple[Mode, Recording]] = {}
        self._ended: list[_Ended] = []

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Remember the mode before the fixture, and what it switches."""
        before = mode_now()
        result, error = None, None
        with record(level=0) as recording:
            self._found[fixturedef] = (before, recording)
            try:
                result = yield
            except BaseException as raised:
                error = raised
        if error is not None:
            raise error.with_traceback(without_ours(error.__traceback__))
        return result

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Remember what the fixture has left. Others are still to come, which may put it right."""
        before, recording = self._found.pop(fixturedef, (None, None))
        if before is not None and recording is not None:
            self._ended.append(_Ended(fixturedef.argname, fixturedef.func, before, mode_now(), recording))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Compare the mode after all fixtures that ended with the one before the first of them was set up."""
        self._ended.clear()
        result, error = None, None
        with record(level=0) as recording:
            try:
                result = yield
            except BaseException as raised:
                error = raised
        text = self._left(recording)
        if error is not None:
            if text:
                item.add_report_section("teardown", _SECTION, text)
            raise error.with_traceback(without_ours(error.__traceback__))
        if text:
            pytest.fail(text, pytrace=False)
        return result

    def _left(self, recording: Recording) -> str:
        """Put the mode back if it has to be, and return the message; nothing if all is in order."""
        if not self._ended or self._ended[-1].before is mode_now():
            return ""
        left = LeftMode(self._ended[-1].before, mode_now())
        guilty = next((each for each in self._ended if each.after is not each.before), self._ended[-1])
        for seen in (guilty.recording, recording):
            left.causes = left.causes or switched_by(seen, left.after)
        if not left.causes:
            left.causes = [Cause(place_of(guilty.function.__code__, 0), "this fixture")]
        put_back(left.before)
        return left.message(f"the fixture `{guilty.name}`")
