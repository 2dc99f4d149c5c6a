"""The pytest plugin costs nothing where nobody asks for it, and says what is missing where it cannot work."""

from __future__ import annotations

import pytest

from gradlint import pytest_plugin

pytest_plugins = ["pytester"]


def test_it_is_there_and_loads_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("gradlint")
            ours = {name for name in sys.modules if name.partition(".")[0] == "gradlint"}
            assert ours == {"gradlint", "gradlint.pytest_plugin"}
            assert "torch" not in sys.modules

        def test_its_marker_is_known(request):
            assert any(line.startswith("gradlint(") for line in request.config.getini("markers"))
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_plugin, "find_spec", lambda name: None)


# The plugin of hypothesis imports all of it for its summary.
QUICK = ("-p", "no:hypothesispytest")
MISSING = "needs torch: pip install 'torch-gradlint[[]runtime]'"


def test_the_option_needs_torch(pytester: pytest.Pytester, without_torch: None) -> None:
    pytester.makepyfile("def test(): pass")
    result = pytester.runpytest_inprocess(*QUICK, "--gradlint")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --gradlint {MISSING}"])


def test_the_marker_needs_torch(pytester: pytest.Pytester, without_torch: None) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.gradlint\ndef test(): pass")
    result = pytester.runpytest_inprocess(*QUICK)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: the marker `gradlint` {MISSING}"])


@pytest.mark.parametrize("name", ["grad_recorder", "grad_compare"])
def test_the_fixtures_need_torch(pytester: pytest.Pytester, without_torch: None, name: str) -> None:
    pytester.makepyfile(f"def test({name}): pass")
    result = pytester.runpytest_inprocess(*QUICK)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"the fixture `{name}` {MISSING}"])


def test_a_level_that_there_is_not(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*QUICK, "--gradlint-level=4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gradlint-level: invalid choice: 4*"])
