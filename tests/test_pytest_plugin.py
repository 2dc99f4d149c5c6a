"""What the pytest plugin does: it keeps the gradient mode, keeps tests to their marks, and ends with verdicts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gradlint import filecheck
from gradlint.runtime.checks.putback import put_back
from gradlint.runtime.plugin import hooks as plugin  # noqa: F401 -- stays loaded from one inner session to the next
from gradlint.runtime.recording import Mode

pytestmark = pytest.mark.torch
pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]

filecheck.load()

TRAINING = """\
import torch
from torch import nn


def make():
    return nn.Linear(2, 1)


def evaluate(model, batches):
    model.eval()
    losses = []
    for x in batches:
        losses.append(model(x).sum())
    return losses


def frozen_forward(model, x):
    with torch.no_grad():
        loss = model(x).sum()
    loss.backward()
"""

TESTS = """\
import torch
from training.loop import evaluate, make


def test_evaluation():
    assert len(evaluate(make(), [torch.ones(1, 2)] * 3)) == 3


def test_once_more():
    assert len(evaluate(make(), [torch.ones(1, 2)])) == 1
"""


# The plugin of hypothesis imports all of it for its summary.
QUICK = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A package of two files, one of which no test loads, and its tests."""
    package = pytester.mkpydir("training")
    (package / "loop.py").write_text(TRAINING, encoding="utf-8")
    (package / "unused.py").write_text(TRAINING, encoding="utf-8")
    tests = pytester.mkdir("tests")
    (tests / "test_loop.py").write_text(TESTS, encoding="utf-8")
    pytester.makeconftest("")
    return pytester


class Imported:
    """Collects what inner sessions import, which pytester forgets: torch cannot be imported a second time."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.modules: dict[str, ModuleType] = {}

    def pytest_unconfigure(self) -> None:
        for name, module in sys.modules.items():
            if not str(getattr(module, "__file__", None) or self._folder).startswith(self._folder):
                self.modules.setdefault(name, module)


@pytest.fixture(autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    """Put back what was imported, after pytester has; and the gradient mode, should a test have failed."""
    found = Imported(tmp_path_factory.getbasetemp())
    yield found
    put_back(Mode.ON)
    for name, module in found.modules.items():
        sys.modules.setdefault(name, module)


@pytest.fixture
def run(pytester: pytest.Pytester, imported: Imported) -> Run:
    def call(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*QUICK, *arguments, plugins=[imported])

    return call


def place(pytester: pytest.Pytester, words: str) -> str:
    """Return where ``words`` stand in the test file, as ``file:line:column``."""
    for path in pytester.path.glob("test_*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if words in line:
                return f"{path.name}:{number}:{line.index(words) + 1}"
    raise LookupError(words)


# --- the gradient mode


def test_a_test_that_leaves_the_mode_fails_itself(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import torch

        def test_guilty():
            torch.set_grad_enabled(False)

        def test_next():
            assert torch.is_grad_enabled()

        def test_raises():
            torch._C._set_grad_enabled(True)
            torch.set_grad_enabled(mode=False)
            raise ValueError("broken data")
        """
    )
    result = run("--gradlint", "--tb=short")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "the test left gradients off, and had begun with gradients on",
            f"{place(pytester, 'torch.set_grad_enabled(False)')}: `set_grad_enabled` sets gradients off here",
            "*|     torch.set_grad_enabled(False)",
            "*= help: *",
            "E   ValueError: broken data",
            "*Captured gradlint call*",
            f"{place(pytester, 'torch.set_grad_enabled(mode=False)')}: *",
        ]
    )


def test_modes_that_fixtures_set_are_no_fault(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest, torch

        @pytest.fixture(scope="module", autouse=True)
        def no_gradients():
            with torch.no_grad():
                yield

        @pytest.fixture
        def gradients():
            torch.set_grad_enabled(True)

        @pytest.fixture
        def put_right():
            yield
            torch.set_grad_enabled(False)

        def test_off():
            assert not torch.is_grad_enabled()

        def test_on(put_right, gradients):
            assert torch.is_grad_enabled()

        def test_off_again():
            assert not torch.is_grad_enabled()
        """
    )
    run("--gradlint").assert_outcomes(passed=3)


def test_a_fixture_that_leaves_the_mode_fails_its_teardown(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest, torch

        @pytest.fixture
        def before():
            torch.set_grad_enabled(False)

        @pytest.fixture
        def behind():
            yield
            torch.set_grad_enabled(mode=False)

        def test_one(before): pass
        def test_two(behind): assert torch.is_grad_enabled()
        def test_three(): assert torch.is_grad_enabled()
        """
    )
    result = run("--gradlint")
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "the fixture `before` left gradients off, and had begun with gradients on",
            f"{place(pytester, 'torch.set_grad_enabled(False)')}: *",
            "the fixture `behind` left gradients off, and had begun with gradients on",
            f"{place(pytester, 'torch.set_grad_enabled(mode=False)')}: *",
        ]
    )


def test_nothing_is_changed_without_the_option(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import torch

        def test_off():
            torch.set_grad_enabled(False)

        def test_still_off():
            assert not torch.is_grad_enabled()
            torch.set_grad_enabled(True)
        """
    )
    run().assert_outcomes(passed=2)


# --- the marker

MODEL = """
import pytest, torch
from torch import nn

@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))

"""


def test_marks_that_are_kept(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        MODEL
        + """
@pytest.mark.gradlint(no_graph=True, no_saved_edit=True, frozen=["model.0", "model.1.bias"])
def test_kept(model):
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    model(torch.ones(1, 2)).sum().backward()
    with torch.no_grad():
        model(torch.ones(1, 2))
"""
    )
    run().assert_outcomes(passed=1)


def test_marks_that_are_broken(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        MODEL
        + """
pytestmark = pytest.mark.gradlint(no_graph=True)

def test_graph(model):
    assert model(torch.ones(1, 2)).shape == (1, 1)

@pytest.mark.gradlint(frozen="model.1")
def test_frozen(model):
    model(torch.zeros(1, 2)).sum().backward()

@pytest.mark.gradlint(no_graph=False, no_saved_edit=True)
def test_edit(model):
    hidden = model(torch.ones(1, 2)).exp()
    hidden.data.mul_(2)
    hidden.sum().backward()

@pytest.mark.gradlint(no_graph=False)
def test_mode(model):
    torch.set_grad_enabled(False)

def test_not_reached(model):
    assert torch.is_grad_enabled()
"""
    )
    result = run()
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(
        [
            "the test built 1 graph that no backward used",
            f"{place(pytester, 'model(torch.ones(1, 2)).shape')}: `Sequential` in training mode recorded 1 graph*",
            "2 tensors of `model.1` did not stay frozen",
            f"{place(pytester, 'model(torch.zeros(1, 2)).sum()')}: this backward reaches `weight` and `bias`",
            "a saved tensor is edited in place before backward uses it",
            f"{place(pytester, 'hidden.data.mul_(2)')}: `mul_` edits a saved tensor unnoticed by torch*",
            "the test left gradients off, and had begun with gradients on",
        ]
    )


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("no_graf=True", "has no `no_graf`; it knows no_graph, no_saved_edit, frozen, level"),
        ("'model'", "takes keywords only: no_graph, no_saved_edit, frozen, level"),
        ("level=4", "cannot take level=4"),
        ("no_graph='yes'", "cannot take no_graph='yes'"),
    ],
)
def test_marks_that_cannot_be_understood(pytester: pytest.Pytester, mark: str, message: str, run: Run) -> None:
    pytester.makepyfile(test_marks=f"import pytest\n@pytest.mark.gradlint({mark})\ndef test_it(): pass\n")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.lines[0] == f"ERROR: test_marks.py::test_it: the marker `gradlint` {message}"


def test_frozen_things_that_are_not_there(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        MODEL
        + """
@pytest.mark.gradlint(frozen="net")
def test_fixture(model): pass

@pytest.mark.gradlint(frozen="model.encoder")
def test_attribute(model): pass

@pytest.mark.gradlint(frozen="model.training")
def test_kind(model): pass
"""
    )
    result = run()
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "frozen='net': the test uses no fixture `net`",
            "frozen='model.encoder': `Sequential` has no `encoder`",
            "frozen='model.training': expected a module or parameters, not bool",
        ]
    )


# --- the fixtures


def test_the_recorder(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        MODEL
        + """
def test_recorded(grad_recorder, model):
    with grad_recorder(level=2) as recording:
        model(torch.ones(1, 2)).sum().backward()
    assert recording.level == 2
    assert [(row.module, row.used) for row in recording.forwards if row.module == "Sequential"] == [("Sequential", 1)]

def test_shown(grad_recorder, model):
    model.eval()
    with grad_recorder() as recording:
        kept = [model(torch.ones(1, 2)) for _ in range(3)]
    assert not recording.forwards
"""
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    at = place(pytester, "model(torch.ones(1, 2)) for")
    result.stdout.fnmatch_lines(["*Captured gradlint call*", f"{at}: GRD102 *"])


def test_the_comparison(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        MODEL
        + """
def test_compared(grad_compare, model):
    def one(model):
        model(torch.ones(1, 2)).sum().backward()
    assert grad_compare(one, one, model=model, devices="cpu").verdict.value == "SAME"
"""
    )
    run().assert_outcomes(passed=1)


# --- the session


def test_verdicts(project: pytest.Pytester, run: Run) -> None:
    result = run("--gradlint=training", "-q")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*= gradlint =*",
            "CONFIRMED training/loop.py:13:9: GRD402 *",
            "*|         losses.append(model(x).sum())",
            "*= run: *",
            "NOT REACHED training/loop.py:20:5: GRD101 *",
            "NOT REACHED training/unused.py:13:*",
            "NOT REACHED training/unused.py:20:5: GRD101 *",
            "*2 confirmed, * not reached (3 files linted; torch *level 1)",
            "Confirmed findings fail the session; --gradlint-exit-zero lets it pass",
        ]
    )
    result.stdout.no_fnmatch_line("*tests/test_loop.py*")


def test_confirmed_findings_may_pass(project: pytest.Pytester, run: Run) -> None:
    result = run("--gradlint=training", "--gradlint-exit-zero", "--gradlint-level=0")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["CONFIRMED training/loop.py:13:9: GRD402 *", "*level 0)"])
    result.stdout.no_fnmatch_line("Confirmed findings fail the session*")


@pytest.mark.parametrize("path", ["training.unused", "training/unused.py"])
def test_a_part_of_the_package(project: pytest.Pytester, path: str, run: Run) -> None:
    result = run(f"--gradlint={path}", "-W", "error")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["NOT REACHED training/unused.py:13:*", "*not reached (1 file linted;*"])
    result.stdout.no_fnmatch_line("*loop.py:13*")


def test_what_follows_the_option_is_what_to_test(project: pytest.Pytester, run: Run) -> None:
    result = run("--gradlint", "tests/test_loop.py::test_once_more", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["tests/test_loop.py::test_once_more PASSED*", "*3 files linted*"])


def test_a_session_in_which_nothing_runs(project: pytest.Pytester, run: Run) -> None:
    result = run("--gradlint=training", "--collect-only")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*= gradlint =*")


def test_a_path_that_is_not_there(pytester: pytest.Pytester, run: Run) -> None:
    for path in ("nowhere", "no/where", "json.nowhere"):
        result = run(f"--gradlint={path}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert result.stderr.lines == [f"ERROR: --gradlint={path}: there is no such file, folder or package", ""]


def test_settings_that_cannot_be_followed(project: pytest.Pytester, run: Run) -> None:
    project.makefile(".toml", gradlint='select = ["GRD9"]')
    result = run("--gradlint")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *GRD9*"])


def test_everything_is_put_back(project: pytest.Pytester, run: Run) -> None:
    import torch
    from torch.overrides import _get_current_function_mode_stack

    call, finders = torch.nn.Module.__call__, list(sys.meta_path)
    run("--gradlint=training")
    assert torch.nn.Module.__call__ is call
    assert sys.meta_path == finders
    assert _get_current_function_mode_stack() == []
    assert torch.is_grad_enabled()


def test_workers_are_joined(project: pytest.Pytester) -> None:
    bad = "import pytest\n@pytest.mark.gradlint(no_graf=True)\ndef test_marked(): pass\n"
    (project.path / "tests" / "test_bad.py").write_text(bad, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-n2", *QUICK, "--gradlint=training"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=project.path, env=environment)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "tests/test_bad.py::test_marked: the marker `gradlint` has no `no_graf`" in done.stdout
    assert "2 passed, 1 error" in done.stdout
    assert done.stdout.count("CONFIRMED training/loop.py:13:9: GRD402") == 1
    assert "4 forwards" in done.stdout, "those of both workers"
    assert done.stdout.count("= gradlint =") == 1


# --- the guide


def test_the_examples_of_the_guide_pass(pytester: pytest.Pytester, run: Run) -> None:
    guide = Path(__file__).resolve().parent.parent / "docs" / "pytest.md"
    examples = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for number, example in enumerate(examples):
        pytester.makepyfile(**{f"test_example_{number}": example})
    run("-W", "error", "--gradlint").assert_outcomes(passed=5)
