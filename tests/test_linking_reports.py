"""Evidence in another file, in every format."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from small_project import UNGUARDED, project, unguarded

from gradlint import Config, Result, check_paths, report
from gradlint.linking.interface import View
from gradlint.linking.link import Link

__all__ = ["project"]

SUBSET = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-subset.json").read_text())


def shown(result: Result, form: str) -> str:
    stream = io.StringIO()
    report.write(result, form, stream)
    return stream.getvalue()


def test_evidence_in_another_file_is_shown_with_its_lines(project: Path) -> None:
    result = check_paths(["."], Config(), jobs=1)
    assert shown(result, "full") == (
        "lib/evaluation.py:8:18: GRD102 `model(...)` builds a graph that nobody backwards: `model` is in eval mode"
        " (likely)\n"
        " 5 |     model.eval()\n"
        "   |     ------------ 2. eval mode since here\n"
        "...\n"
        " 8 |         total += model(x).argmax(1).eq(y).sum().item()\n"
        "   |                  ^^^^^^^^ 3. the graph is recorded here\n"
        "  ::: other.py\n"
        " 5 |     print(evaluate(model, val_loader))\n"
        "   |           --------------------------- 1. `evaluate` is called here, with nothing around it that turns"
        " gradients off\n"
        "   = help: run it inside `torch.no_grad()` or `torch.inference_mode()`\n"
        "\n"
        "Found 1 finding in 1 file (5 files checked)\n"
    )


def test_evidence_in_a_file_that_is_gone_is_left_out_of_the_frame(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Link.views

    def meanwhile(link: Link) -> dict[str, View]:
        found = views(link)
        (project / "other.py").write_text("\n" + UNGUARDED)
        return found

    monkeypatch.setattr(Link, "views", meanwhile)
    result = check_paths(["."], Config(), jobs=1)
    assert "other.py" in {step.path for step in unguarded(result).evidence}
    text = shown(result, "full")
    assert "::: other.py" not in text and "3. the graph is recorded here" in text


def test_evidence_in_another_file_is_in_the_formats_for_programs(project: Path) -> None:
    result = check_paths(["."], Config(), jobs=1)
    [finding] = json.loads(shown(result, "json"))["findings"]
    assert [step["path"] for step in finding["evidence"]] == ["other.py", "lib/evaluation.py", "lib/evaluation.py"]
    log = json.loads(shown(result, "sarif"))
    jsonschema.Draft202012Validator(SUBSET, format_checker=jsonschema.FormatChecker()).validate(log)
    [flow] = log["runs"][0]["results"][0]["codeFlows"][0]["threadFlows"]
    steps = [step["location"]["physicalLocation"] for step in flow["locations"]]
    assert [step["artifactLocation"]["uri"] for step in steps] == ["other.py", *["lib/evaluation.py"] * 2]
    assert [step["region"]["startLine"] for step in steps] == [5, 5, 8]
    assert "other.py" not in shown(result, "concise") and "other.py" not in shown(result, "github")


def test_evidence_in_another_file_is_on_the_page(project: Path) -> None:
    from gradlint.report import html
    from gradlint.runtime.recording import Recording
    from gradlint.runtime.verdict import Verdict, Verified

    result = check_paths(["."], Config(), jobs=1)
    one = Verified(unguarded(result), Verdict.CONFIRMED)
    page = html.verification([one], Recording(level=1), result.excerpts)
    assert "other.py" in page and "print(evaluate(model, val_loader))" in page
