"""The test kit for projects: what it reads, what it must notice, and how it runs what they claim."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gradlint import Certainty, Evidence, Finding, Location, Result, Severity
from gradlint.testing import Claim, ClaimError, ExpectationError, check_project, parse_claims, project_claims
from gradlint.testing.projects import lint_project, parse_leads

GUARD = 'if __name__ == "__main__":\n    value = 1\n'


def project(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def finding(path: str, line: int, *steps: tuple[str, int]) -> Finding:
    evidence = tuple(Evidence(where, Location(at, 1, at, 2), "here") for where, at in steps)
    place = Location(line, 1, line, 2)
    return Finding("GRD101", "name", Severity.ERROR, Certainty.CERTAIN, path, place, "no graph", "do it", evidence)


# -- comments ----------------------------------------------------------------------------------------------


def test_leads_are_read_and_misspelt_ones_refused() -> None:
    text = 'f()  # leads to: GRD101, GRD402  # expect: GRD101\n"# leads to: GRD102"\n'
    text += "g()  # expect: GRD101  # leads to: GRD102\n"
    assert list(parse_leads(text)) == [(1, "GRD101"), (1, "GRD402"), (3, "GRD102")]
    for wrong in ("# leads to", "# leads to GRD101", "# leads to: ", "# leads to: GRD101 and more"):
        with pytest.raises(ExpectationError, match="line 1: write"):
            list(parse_leads(f"f()  {wrong}\n"))


def test_findings_and_evidence_are_compared_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(
        tmp_path,
        steps="def step(loss):\n    loss.backward()  # expect: GRD101\n",
        main="from steps import step\n\nstep(1)  # leads to: GRD101\n",
    )

    def found(*findings: Finding) -> list[str]:
        monkeypatch.setattr("gradlint.testing.projects.lint_project", lambda _: Result(findings, 2))
        return check_project(root)

    assert found(finding("steps.py", 2, ("steps.py", 1), ("main.py", 3))) == []
    assert found() == [
        "main.py: line 3: no evidence of GRD101 leads here",
        "steps.py: line 2: wanted # expect: GRD101, found nothing",
    ]
    assert found(finding("steps.py", 2, ("main.py", 3)), finding("main.py", 1, ("steps.py", 2))) == [
        'main.py: line 1: unexpected GRD101 "no graph"',
        "steps.py: line 2: unexpected evidence of GRD101 in another file",
    ]


def test_ok_functions_expect_nothing(tmp_path: Path) -> None:
    root = project(tmp_path, main="def f_ok(loss):\n    loss.backward()  # expect: GRD101\n")
    assert "`f_ok` is called ok and expects GRD101" in check_project(root)[0]


def test_paths_are_those_in_the_project(tmp_path: Path) -> None:
    bad = "import torch\n\n\ndef f(model, x):\n    with torch.no_grad():\n        model(x).sum().backward()\n"
    (tmp_path / "pyproject.toml").write_text('[tool.gradlint]\nignore = ["GRD101"]\n')
    result = lint_project(project(tmp_path, package__in__train=bad))
    assert [found.path for found in result.findings] == ["package/train.py"]
    assert {step.path for step in result.findings[0].evidence} == {"package/train.py"}
    assert {path for path, _ in result.excerpts} == {"package/train.py"}


def test_claims_of_scripts_are_read_where_they_are_allowed(tmp_path: Path) -> None:
    root = project(tmp_path, main=f"# runtime: shows value == 1\n{GUARD}", other="x = 1\n")
    assert project_claims(root) == {root / "main.py": {"__main__": Claim("shows", "value == 1")}, root / "other.py": {}}
    with pytest.raises(ClaimError, match="stands above no function"):
        parse_claims(f"# runtime: ok\n{GUARD}")
    with pytest.raises(ClaimError, match="stands above no function"):
        parse_claims(f"# runtime: ok\n\n{GUARD}", scripts=True)


# -- runs --------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_claims_are_run_with_the_files_of_the_project(tmp_path: Path) -> None:
    from gradlint.runtime.truth import check_project_claim

    root = project(
        tmp_path,
        package__in____init__="",
        package__in__steps="from .numbers_ import ONE\n\n\ndef f_ok(x):\n    return ONE\n",
        package__in__numbers_="ONE = 1\n",
        src__in__library="TWO = 2\n",
        scripts__in__common="THREE = 3\n",
        scripts__in__run="import torch\nfrom common import THREE\nfrom library import TWO\n\nvalue = 0\n" + GUARD,
    )
    before = (list(sys.path), sys.dont_write_bytecode, set(sys.modules))

    def outcome(path: str, name: str, subject: str) -> str | None:
        return check_project_claim(root, root / path, name, Claim("shows", subject))

    assert outcome("package/steps.py", "f_ok", "result == 1") is None
    assert outcome("package/steps.py", "f_ok", "result == 2") == (
        "`package/steps.py:f_ok` was to shows result == 2, but: the expression is False"
    )
    assert outcome("scripts/run.py", "__main__", "value + TWO + THREE == 6") is None
    assert "the expression is False" in str(outcome("scripts/run.py", "__main__", "value == 0"))
    assert (sys.path, sys.dont_write_bytecode) == before[:2]
    assert not {"package", "common", "library", "run"} & set(sys.modules)
    assert not list(root.rglob("__pycache__"))


@pytest.mark.torch
def test_modules_of_the_same_name_come_back(tmp_path: Path) -> None:
    import json

    from gradlint.runtime.truth import check_project_claim

    root = project(tmp_path, json="kept = []\n", main="import json\n\n\ndef f_ok():\n    return json.kept\n")
    assert check_project_claim(root, root / "main.py", "f_ok", Claim("shows", "result == []")) is None
    assert sys.modules["json"] is json
