"""Settings: where they are found, and what is said about those that cannot be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradlint import Config, ConfigError, check_paths, config
from gradlint.finding import Certainty, Severity

BAD = "import torch\n\n\ndef score(x):\n    with torch.no_grad:\n        return x\n"


def write(folder: Path, text: str, name: str = "gradlint.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [tool.gradlint]
        select = ["GRD1", "backward-without-graph"]
        ignore = ["GRD105"]
        exclude = ["old/"]
        min-certainty = "possible"
        torch-version = "2.1"
        require-reason = true
        respect-gitignore = false
        [tool.gradlint.per-file-ignores]
        "tests/**" = ["GRD101"]
        [tool.gradlint.severity]
        GRD104 = "info"
        """,
        "pyproject.toml",
    )
    assert config.load(str(path)) == Config(
        select=("GRD1", "backward-without-graph"),
        ignore=("GRD105",),
        exclude=("old/",),
        min_certainty=Certainty.POSSIBLE,
        per_file_ignores={"tests/**": ("GRD101",)},
        severity={"GRD104": Severity.INFO},
        torch_version="2.1",
        require_reason=True,
        respect_gitignore=False,
        root=str(tmp_path),
        source=str(path),
    )


def test_the_nearest_file_that_has_settings_wins(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    write(tmp_path, "[tool.gradlint]\nignore = ['GRD101']\n", "pyproject.toml")
    write(deep, "[tool.other]\n", "pyproject.toml")
    assert config.find(str(deep)).ignore == ("GRD101",)
    write(deep.parent, "[tool.gradlint]\nignore = ['GRD103']\n", "pyproject.toml")
    assert config.find(str(deep)).ignore == ("GRD103",)
    write(deep.parent, "ignore = ['GRD104']\n")
    assert config.find(str(deep)).ignore == ("GRD104",)


WRONG = {
    "ignroe = []": "unknown key `ignroe`; did you mean `ignore`?",
    "xyz = 1": "unknown key `xyz`; the keys are contracts, exclude, ",
    "plugins = ['x']": "unknown key `plugins`",
    "output-file = 'x'": "unknown key `output-file`",
    "select = 'GRD1'": "`select` must be a list of strings, not 'GRD1'",
    "select = [1]": "`select` must be a list of strings, not [1]",
    "select = ['GRD9999']": "`select`: unknown rule `GRD9999`",
    "ignore = ['backward-without-grap']": "did you mean `backward-without-graph`?",
    "min-certainty = 'sure'": '`min-certainty` must be one of "certain", "likely", "possible", not \'sure\'',
    "min-certainty = []": "`min-certainty` must be one of",
    "torch-version = 2.1": '`torch-version` must be a version as a string, such as "2.1", not 2.1',
    "torch-version = 'new'": "`torch-version` must be a version",
    "require-reason = 1": "`require-reason` must be true or false, not 1",
    "respect-gitignore = 'no'": "`respect-gitignore` must be true or false",
    "per-file-ignores = []": "`per-file-ignores` must be a table",
    "per-file-ignores = {'a' = 'GRD1'}": "`per-file-ignores`, `a` must be a list of strings",
    "per-file-ignores = {'a' = ['X']}": "`per-file-ignores`, `a`: unknown rule `X`",
    "severity = {'GRD101' = 'bad'}": "`severity`, `GRD101` must be one of",
    "severity = {'GRD998' = 'info'}": "`severity`: unknown rule `GRD998`",
    "severity = true": "`severity` must be a table of rules and levels, not true",
    "exclude = '" + "x" * 100 + "'": "...",
    "a = ": "is not valid TOML",
    "a = " + "[" * 5_000: "is nested too deeply",
    "# " + "x" * 1_000_001: "larger than 1 MB",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_what_cannot_be_followed_is_said(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path))
    assert str(caught.value).startswith(f"{path}: ") and WRONG[text] in str(caught.value)


def test_files_that_hold_no_settings(tmp_path: Path) -> None:
    for text, problem in (("tool = 1", None), ("[tool]\ngradlint = 1", "must be a table")):
        path = str(write(tmp_path, text, "pyproject.toml"))
        if problem is None:
            assert config.load(path) is None
        else:
            with pytest.raises(ConfigError, match=problem):
                config.load(path)
    (tmp_path / "gradlint.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not valid UTF-8"):
        config.load(str(tmp_path / "gradlint.toml"))
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        config.load(str(tmp_path / "nosuch.toml"))


def test_settings_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "old/b.py", "tests/c.py", "tests/sub/d.py"):
        write(tmp_path, BAD, name)
    settings = "exclude = ['old']\n[per-file-ignores]\n'tests/' = ['GRD104']\n[severity]\nGRD104 = 'info'\n"
    write(tmp_path, settings)
    found = [(f.path, f.severity) for f in check_paths(["."]).findings]
    assert found == [("a.py", Severity.INFO)]
    found = [(f.path, f.severity) for f in check_paths(["tests", "a.py"], Config(select=("GRD101",))).findings]
    assert found == []


def test_patterns_are_relative_to_the_file_that_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, BAD, "sub/a.py")
    write(tmp_path, BAD, "sub/b.py")
    write(tmp_path, "exclude = ['/sub/a.py']\n[per-file-ignores]\n'/sub/b.py' = ['GRD104']\n")
    monkeypatch.chdir(tmp_path / "sub")
    assert check_paths(["."]).findings == () and check_paths(["."]).files == 1


def test_unknown_rules_in_code(tmp_path: Path) -> None:
    for wrong in (Config(select=("X",)), Config(ignore=("X",)), Config(severity={"X": Severity.INFO})):
        with pytest.raises(ConfigError, match="unknown rule `X`"):
            check_paths([str(tmp_path)], wrong)


@pytest.mark.parametrize(("version", "runs"), [(None, False), ("2.9", True), ("2.9.1", True), ("2.10", False)])
def test_a_rule_about_an_old_torch_runs_where_the_code_must_run_on_one(version: str | None, runs: bool) -> None:
    assert ("GRD118" in Config(torch_version=version).codes()) is runs
