"""Options and fixtures that all tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
ROOT = Path(__file__).resolve().parent.parent
_ON = {"cpu": (), "cuda": (pytest.mark.gpu,)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="run only the tests of snapshots, and rewrite these")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--bless"):
        others = [item for item in items if "bless" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def pytest_configure() -> None:
    """Obey Ctrl-C: what is started in the background ignores it, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a snapshot file, which is missing if the text is empty; with ``--bless`` write it instead."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--bless"):
            if text:
                path.write_text(text, encoding="utf-8")
            else:
                path.unlink(missing_ok=True)
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        stale = f"{path.relative_to(ROOT)} is stale: read the diff, then run `make bless`"
        assert current == text, stale
        assert path.exists() is bool(text), stale

    return check


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of torch that take a ``device`` on each one there is; without a GPU its variants do not exist."""
    if "device" in metafunc.fixturenames and metafunc.definition.get_closest_marker("torch"):
        names = _devices(metafunc.config)
        metafunc.parametrize("device", [pytest.param(each, marks=_ON[each]) for each in names])


def _devices(config: pytest.Config) -> list[str]:
    if config.getoption("markexpr") == "not torch":
        return ["cpu"]  # deselected anyway, and torch may not be there
    from gradlint.runtime.devices import available

    return available()
