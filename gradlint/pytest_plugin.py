"""The pytest plugin's front door: its options, its marker and its fixtures, which cost nothing until they are used.

pytest imports this module in every project that has gradlint installed. Torch and the rest of gradlint are imported
when ``--gradlint`` is given, a test carries the marker ``gradlint``, or a fixture is asked for.

PYTEST_DONT_REWRITE (no asserts are in here)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gradlint.runtime.recording import Recording

MARKER = (
    "gradlint(no_graph=False, no_saved_edit=False, frozen=(), level=1): watch gradients; the test fails if it leaves"
    " the gradient mode changed, if no_graph and a module call builds a graph that no backward uses, if no_saved_edit"
    " and a saved tensor is edited before its backward, or if what frozen names (fixtures, or parts as in"
    " 'model.encoder') changes or gets a gradient"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("gradlint", "PyTorch autograd (gradlint)")
    group.addoption(
        "--gradlint",
        nargs="?",
        const="",
        default=None,
        metavar="PATH",
        help="Watch gradients while the tests run, and end with a verdict on each of gradlint's findings in PATH: a"
        " folder, a file or the name of a package (default: the root folder). A test that leaves the gradient mode"
        " changed fails. The exit status is 1 if a finding is confirmed.",
    )
    group.addoption(
        "--gradlint-level",
        type=int,
        choices=(0, 1, 2, 3),
        default=1,
        help="How closely to watch: 0 modes and graphs, 1 also the calls that matter to gradients, 2 every call of"
        " torch, 3 also memory and edits of saved tensors (default: 1).",
    )
    group.addoption(
        "--gradlint-exit-zero", action="store_true", help="Confirmed findings do not change the exit status."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Begin to watch before the first conftest imports the package under test."""
    known = early_config.known_args_namespace
    if "--gradlint" in args and known.gradlint:
        # `--gradlint tests` means the option and a path to collect, not the value `tests`.
        args[args.index("--gradlint")] = "--gradlint="
        known.file_or_dir.insert(0, known.gradlint)
        known.gradlint = ""
    if known.gradlint is not None:
        _begin(early_config, known.gradlint, known.gradlint_level)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; begin here if this plugin was loaded too late for the hook above."""
    config.addinivalue_line("markers", MARKER)
    if config.option.gradlint is not None:
        _begin(config, config.option.gradlint, config.option.gradlint_level)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Watch the tests that carry the marker, if any do."""
    marked = [item for item in items if item.get_closest_marker("gradlint") is not None]
    if marked:
        if missing := _missing("the marker `gradlint`"):
            raise pytest.UsageError(missing)
        from gradlint.runtime.plugin import hooks as plugin

        plugin.watch_marked(config, marked)


@pytest.fixture
def grad_recorder(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Recording]]:
    """Return a context manager that records what happens to gradients in its block; it takes the ``level``.

    The recording is filled when the block ends. What it shows is added to the test's report, for when the test fails.
    """
    if missing := _missing("the fixture `grad_recorder`"):
        pytest.fail(missing, pytrace=False)
    from gradlint.runtime.plugin import hooks as plugin

    return plugin.recorder(request.node)


@pytest.fixture
def grad_compare() -> Callable[..., Any]:
    """Compare the gradients of two variants of a step; see `gradlint.runtime.comparison.compare.compare`."""
    if missing := _missing("the fixture `grad_compare`"):
        pytest.fail(missing, pytrace=False)
    from gradlint.runtime.comparison.compare import compare

    return compare


def _begin(config: pytest.Config, path: str, level: int) -> None:
    if config.pluginmanager.has_plugin("gradlint-session"):
        return
    if missing := _missing("--gradlint"):
        raise pytest.UsageError(missing)
    from gradlint.runtime.plugin import hooks as plugin

    plugin.watch_session(config, path, level)


def _missing(what: str) -> str:
    """Return why ``what`` cannot work here, or nothing."""
    return "" if find_spec("torch") else f"{what} needs torch: pip install 'torch-gradlint[runtime]'"
