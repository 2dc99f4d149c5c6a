"""The command line: arguments, exit codes, streams."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gradlint import Certainty, Severity, cli, registry
from gradlint.rule import Rule

BAD = "import torch\n\n\ndef score(x):\n    with torch.no_grad:\n        return x\n"
CLEAN = BAD.replace("no_grad:", "no_grad():")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("bad.py", BAD), ("clean.py", CLEAN)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", "gradlint", *arguments]
    return subprocess.run(full, capture_output=True, text=True, timeout=60, check=False, **options)


def test_paths_are_checked_without_naming_the_command(project: Path, run: Any) -> None:
    assert run("bad.py") == run("check", "bad.py")
    assert run("--format", "concise", "bad.py")[1].startswith("bad.py:5:10: GRD104 ")
    assert run("check")[1].endswith("Found 1 finding in 1 file (2 files checked)\n")


def test_exit_codes(project: Path, run: Any) -> None:
    (project / "broken.py").write_text(BAD + "(")
    assert run("clean.py") == (0, "All clean: 1 file checked\n", "")
    assert run("bad.py")[0] == 1
    assert run("bad.py", "--exit-zero")[0] == 0
    assert run("bad.py", "broken.py")[0] == run("nosuch.py")[0] == 2
    assert run("broken.py", "--exit-zero")[0] == 2
    assert run("broken.py", "--ignore", "GRD000")[0] == 0


MISUSE = {
    ("--selct", "GRD1", "."): "No such option",
    ("--select", "GRD9999", "."): "--select: unknown rule `GRD9999`",
    ("--ignore", "backward-without-grap", "."): "did you mean `backward-without-graph`?",
    ("--format", "xml", "."): "is not one of",
    ("--jobs", "0", "."): "not in the range",
    ("--isolated", "--config", "x.toml", "."): "contradict",
    ("--config", "nosuch.toml", "."): "nosuch.toml: cannot be read",
    ("--config", "pyproject.toml", "."): "pyproject.toml: has no [tool.gradlint]",
    ("--statistics", "--format", "json", "."): "--statistics has no json form",
    ("--output-file", "nosuch/x", "."): "cannot write nosuch/x",
    ("-", "bad.py"): "cannot be checked together",
    ("rule",): "Missing argument",
    ("rule", "GRD10"): "unknown rule `GRD10`; did you mean",
    ("rule", "\x1b[2J"): "unknown rule `\\x1b[2J`",
}


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse(project: Path, run: Any, arguments: tuple[str, ...]) -> None:
    (project / "pyproject.toml").write_text("[tool.x]\n")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and MISUSE[arguments] in err
    assert "Traceback" not in err


def test_bad_settings_are_misuse(project: Path, run: Any) -> None:
    (project / "gradlint.toml").write_text("slect = []\n")
    code, out, err = run("bad.py")
    assert (code, out) == (2, "") and "unknown key `slect`; did you mean `select`?" in err
    assert run("bad.py", "--isolated")[0] == 1


def test_options_override_settings(project: Path, run: Any) -> None:
    (project / "gradlint.toml").write_text("select = ['GRD101']\n")
    assert run(".")[0] == 0
    assert run(".", "--select", "GRD1")[0] == run(".", "--select", "GRD101,grad-mode-misused")[0] == 1
    assert run(".", "--select", "ALL", "--ignore", "GRD1")[0] == 0
    (project / "other.toml").write_text("select = ['GRD104']\n")
    assert run(".", "--config", "other.toml")[0] == 1


def test_certainty_can_be_asked_for(project: Path, run: Any) -> None:
    for level in ("certain", "likely", "possible"):
        assert run("bad.py", "--min-certainty", level)[0] == 1


def test_excludes(project: Path, run: Any) -> None:
    assert run(".", "--exclude", "bad*")[0] == 0
    assert run("bad.py", "--exclude", "bad*")[0] == 1
    assert run("bad.py", "--exclude", "bad*", "--force-exclude")[:2] == (0, "All clean: 0 files checked\n")


def test_nothing_to_check_is_said(project: Path, run: Any) -> None:
    (project / "empty").mkdir()
    assert run("empty") == (0, "All clean: 0 files checked\n", "warning: no Python files found\n")
    assert run("empty", "-q") == (0, "", "")


def test_quiet_and_statistics(project: Path, run: Any) -> None:
    (project / "more.py").write_text(BAD + "\n\ntorch.no_grad()\n")
    assert "Found" not in run(".", "-q")[1] and run("clean.py", "-q")[1] == ""
    lines = run(".", "--statistics")[1].splitlines()
    assert lines[:2] == ["2  GRD104  grad-mode-misused", "1  GRD103  grad-mode-not-entered"]
    assert lines[2].startswith("Found 3 findings in 2 files")


def test_output_file(project: Path, run: Any) -> None:
    code, out, _ = run(".", "--format", "json", "-o", "report.json")
    assert (code, out) == (1, "")
    assert json.loads((project / "report.json").read_text())["summary"]["findings"] == 1


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_standard_input(project: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "gradlint.toml").write_text("exclude = ['skip.py']\n[per-file-ignores]\n'tests/' = ['GRD104']\n")
    (project / "sub").mkdir()
    (project / "sub" / "gradlint.toml").write_text("ignore = ['GRD104']\n")
    for name, expected in (("", 1), ("new.py", 1), ("tests/x.py", 0), ("sub/x.py", 0), ("skip.py", 1)):
        monkeypatch.setattr(sys, "stdin", Stdin(BAD.encode()))
        code, out, _ = run("-", *(["--stdin-filename", name] if name else []))
        assert code == expected
        assert expected == 0 or out.startswith(f"{name or '<stdin>'}:5:10: GRD104")
    monkeypatch.setattr(sys, "stdin", Stdin(BAD.encode()))
    assert run("-", "--stdin-filename", "skip.py", "--force-exclude")[0] == 0
    monkeypatch.setattr(sys, "stdin", Stdin(b"import torch; torch.no_grad() # \xff"))
    assert run("-")[0] == 2


def test_rules_are_listed(run: Any) -> None:
    code, out, _ = run("rules")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [r.code for r in registry.all_rules()]
    listed = json.loads(run("rules", "--format", "json")[1])
    assert listed[0].keys() == {"code", "name", "severity", "certainty", "summary"}
    assert listed[0]["code"] == "GRD000" and listed[0]["name"] == "syntax-error"


def test_a_rule_is_explained(run: Any) -> None:
    assert run("rule", "GRD104") == run("rule", "grd104") == run("rule", "grad-mode-misused")
    code, out, _ = run("rule", "GRD104")
    assert code == 0 and out.startswith("# GRD104: grad-mode-misused\n") and "## Use instead" in out


def test_version_and_help() -> None:
    version = command("--version")
    assert (version.returncode, version.stderr) == (0, "") and version.stdout.startswith("gradlint ")
    for arguments in (["-h"], ["--help"], ["check", "-h"], ["rule", "-h"], ["rules", "-h"]):
        assert command(*arguments).stdout.startswith("Usage: gradlint")


def test_version_loads_little() -> None:
    program = (
        "import sys; from gradlint import cli; cli.main(['--version'])\n"
        "assert not {'torch', 'libcst', 'rich', 'multiprocessing', 'gradlint.engine'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)


def test_a_reader_that_has_seen_enough(project: Path) -> None:
    for number in range(30):
        (project / f"f{number}.py").write_text(BAD * 200)
    program = [sys.executable, "-m", "gradlint", "."]
    with subprocess.Popen(program, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"bad.py:5:10")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_streams_that_are_not_there(project: Path, redirection: str) -> None:
    script = f'"{sys.executable}" -m gradlint bad.py {redirection}'
    done = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk(project: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    code, _, err = run(".")
    assert (code, err) == (2, "error: the output: No space left on device\n")


def on_terminal(*arguments: str, **env: str) -> str:
    """Run on a terminal and return what it shows."""
    master, slave = pty.openpty()
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
    program = [sys.executable, "-m", "gradlint", *arguments]
    process = subprocess.Popen(program, stdout=slave, stderr=slave, env={**settings, "TERM": "xterm", **env})
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    process.wait(60)
    return shown.decode().replace("\r\n", "\n")


def test_colours_on_a_terminal_only(project: Path) -> None:
    (project / "bad.py").write_text(BAD.replace("return x", "return x  # [red]"))
    plain = command("bad.py").stdout
    assert "\x1b" not in plain
    coloured = on_terminal("bad.py")
    assert "\x1b[1;31mGRD104\x1b[0m" in coloured
    assert on_terminal("bad.py", NO_COLOR="1") == on_terminal("bad.py", TERM="dumb") == plain
    for arguments in (["rules"], ["rule", "GRD104"]):
        assert "\x1b[" in on_terminal(*arguments) and "\x1b[" not in on_terminal(*arguments, NO_COLOR="1")


def test_the_bar_shows_in_long_runs_on_terminals_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlint.report import progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    for stream, quiet, shows in ((Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)):
        with progress.progress(stream, quiet=quiet) as advance:
            assert (advance is not None) is shows
            for done in range(5):
                if advance is not None:
                    advance(done, 40)
        assert ("4/40" in stream.getvalue()) is shows


class Good(Rule):
    """Complete."""

    code, name, since, message, help = "GRD998", "good", "1", "m", "h"
    severity, certainty = Severity.INFO, Certainty.LIKELY

    def check(self, facts: Any) -> Any:
        yield from ()


def module(file: str, **changes: Any) -> types.ModuleType:
    made = types.ModuleType(f"gradlint.rules.{file}")
    made.__dict__["Made"] = type("Made", (Good,), {"__module__": made.__name__, **changes})
    return made


BROKEN = {
    "expected one class": [types.ModuleType("gradlint.rules.grd998_good")],
    "belongs in grd998_good.py": [module("grd998_wrong")],
    "`since` is missing": [module("grd998_good", since=None)],
    "`severity` is missing or is no Severity": [module("grd998_good", severity="bad")],
    "not spelled as": [module("x1_good", code="X1")],
    "the name good is taken by GRD997": [module("grd997_good", code="GRD997"), module("grd998_good")],
    "GRD998 is taken by": [module("grd998_good"), module("grd998_best", name="best")],
    "`check` is missing": [module("grd998_good", check=Rule.check)],
}


@pytest.mark.parametrize("problem", BROKEN)
def test_incomplete_rules_are_refused(problem: str) -> None:
    with pytest.raises(registry.RegistryError, match=problem):
        registry.collect(BROKEN[problem])
    assert [rule.code for rule in registry.collect([module("grd998_good")])] == ["GRD998"]
