"""Rules of other packages: the one in the documentation is installed as a user would install it."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
import types
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradlint import cli, plug_ins, registry

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "plug_in"
MISTAKE = """import torch


def step(model, optimizer, loss):
    optimizer.zero_grad()
    loss.backward(inputs=[model.weight])
    optimizer.step()
"""


class Environment:
    """A virtual environment that has what the tests' own has, gradlint included."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = Path(self._says("import sysconfig; print(sysconfig.get_path('purelib'))"))
        ours = sysconfig.get_path("purelib")
        (self.site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")

    def _says(self, code: str) -> str:
        command = [os.fspath(self.python), "-c", code]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def install(self, package: Path) -> None:
        """Install a package from its folder, without what it depends on."""
        options = ["--disable-pip-version-check", "--quiet", "--no-deps"]
        command = [os.fspath(self.python), "-m", "pip", "install", *options, os.fspath(package)]
        subprocess.run(command, check=True, timeout=120)

    def gradlint(self, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        command = [os.fspath(self.python), "-m", "gradlint", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ, **variables}, check=False
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    package = tmp_path_factory.mktemp("package")
    for path in (EXAMPLE / "pyproject.toml", *EXAMPLE.glob("acme_rules/*.py")):
        copy = package / path.relative_to(EXAMPLE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    made.install(package)
    return made


def test_an_installed_rule_finds_explains_and_is_silenced(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MISTAKE, encoding="utf-8")
    found = environment.gradlint("--select", "ACM", "--format", "concise", "train.py", cwd=tmp_path)
    assert found.stdout.startswith("train.py:6:5: ACM101 `loss.backward(...)` leaves the gradients"), found.stderr
    assert found.returncode == 1
    page = environment.gradlint("rule", "partial-backward", cwd=tmp_path)
    assert "ACM101" in page.stdout and "Why this is wrong" in page.stdout
    silenced = MISTAKE.replace("weight])", "weight])  # gradlint: ignore[ACM101]")
    (tmp_path / "train.py").write_text(silenced, encoding="utf-8")
    assert environment.gradlint("train.py", cwd=tmp_path).returncode == 0
    assert environment.gradlint("--select", "ACM2", "train.py", cwd=tmp_path).returncode == 2


@pytest.mark.torch
def test_torch_confirms_the_page_of_an_installed_rule(environment: Environment, tmp_path: Path) -> None:
    done = environment.gradlint("verify", "--rule", "ACM101", cwd=tmp_path)
    assert done.returncode == 0 and "CONFIRMED" in done.stdout, done.stdout + done.stderr


def test_what_is_only_on_the_path_is_not_loaded(tmp_path: Path) -> None:
    """A project that is checked might hold such a package, and might be on the path of whoever checks it."""
    metadata = tmp_path / "evil-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[gradlint.rules]\nEVL101 = evil\n", encoding="utf-8")
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    for variables in ({}, {"PYTHONPATH": os.fspath(tmp_path)}):
        command = [sys.executable, "-m", "gradlint", "rules"]
        env = {**os.environ, **variables}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env, check=False)
        assert done.returncode == 0 and "GRD101" in done.stdout and "EVL" not in done.stdout, done.stderr


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Offer a module with a given code in an environment of one package."""
    monkeypatch.setattr(site, "getsitepackages", lambda: [os.fspath(tmp_path)])
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[gradlint.rules]\nBRK101 = broken_rules\n", encoding="utf-8")

    def offer(code: str) -> None:
        (tmp_path / "broken_rules.py").write_text(code, encoding="utf-8")

    registry.all_rules.cache_clear()
    yield offer
    registry.all_rules.cache_clear()
    sys.modules.pop("broken_rules", None)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_module\n", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 +\n", "cannot be imported: SyntaxError: invalid syntax"),
        ("x = 1\n", "broken_rules: expected one class derived from Rule, found 0"),
    ],
)
def test_a_broken_plug_in_is_named(
    offered: Callable[[str], None], code: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    offered(code)
    assert cli.main(["rules"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: broken 1.0: ") and problem in error and "Traceback" not in error


def test_codes_that_begin_like_ours_are_ours() -> None:
    module = types.ModuleType("gradlint.rules.acm101_partial_backward")
    exec((EXAMPLE / "acme_rules" / "acm101_partial_backward.py").read_text(encoding="utf-8"), module.__dict__)
    assert [rule.code for rule in registry.collect([], [("acme", module)])] == ["ACM101"]
    with pytest.raises(registry.RegistryError, match="begin with GRD"):
        registry.collect([module])


def test_an_environment_without_plug_ins_costs_no_metadata() -> None:
    code = "import sys; from gradlint import plug_ins; print(*plug_ins.modules(), 'importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
    assert list(plug_ins.modules()) == []
