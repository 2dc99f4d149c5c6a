"""Output formats."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradlint import Certainty, Config, Evidence, Finding, Location, Result, Severity, check_paths, report
from gradlint.report.sanitise import github_data, github_property, sarif_text, visible
from gradlint.source.positions import Excerpt, Lines

SUBSET = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-subset.json").read_text())


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "code": "GRD101",
        "name": "backward-without-graph",
        "severity": Severity.ERROR,
        "certainty": Certainty.CERTAIN,
        "path": "x.py",
        "location": Location(1, 1, 1, 2),
        "message": "this is wrong",
        "help": "do that",
    }
    return Finding(**{**values, **changes})


def shown(found: Finding, source: str = "", form: str = "full", failed: tuple[str, ...] = ()) -> str:
    """Return how ``found`` is reported with the lines of ``source`` at hand."""
    lines = Lines(source)
    places = [found.location, *(step.location for step in found.evidence)]
    places += [Location(line, 1, line, 1) for line in range(1, source.count("\n") + 2)] if source else []
    excerpts = {("x.py", place): lines.excerpt(place) for place in places} if source else {}
    stream = io.StringIO()
    report.write(Result((found,), 3, failed, excerpts), form, stream)
    return stream.getvalue()


SOURCE = """\
with torch.no_grad():
    out = model(x)
    loss = f(out)
    a = 1
    b = 2
loss.backward()"""


def step(line: int, column: int, end: int, text: str, path: str = "x.py") -> Evidence:
    return Evidence(path, Location(line, column, line, end), text)


def test_full_tells_the_story_in_the_source() -> None:
    off, made = step(1, 6, 21, "gradients off here"), step(3, 12, 18, "computed here")
    backward = step(6, 1, 16, "backward here")
    found = finding(location=Location(6, 1, 6, 16), evidence=(off, made, backward), certainty=Certainty.LIKELY)
    assert shown(found, SOURCE) == (
        "x.py:6:1: GRD101 this is wrong (likely)\n"
        " 1 | with torch.no_grad():\n"
        "   |      --------------- gradients off here\n"
        " 2 |     out = model(x)\n"
        " 3 |     loss = f(out)\n"
        "   |            ------ computed here\n"
        "...\n"
        " 6 | loss.backward()\n"
        "   | ^^^^^^^^^^^^^^^ backward here\n"
        "   = help: do that\n"
        "\n"
        "Found 1 finding in 1 file (3 files checked)\n"
    )


def test_full_numbers_a_story_that_goes_back_and_forth() -> None:
    evidence = (step(3, 5, 9, "second line"), step(1, 1, 5, "first line"))
    text = shown(finding(location=Location(3, 5, 3, 9), evidence=evidence), SOURCE)
    assert " | ---- 2. first line\n" in text and " |     ^^^^ 1. second line\n" in text


def test_full_marks_one_line_several_times_and_others_to_their_end() -> None:
    evidence = (step(1, 6, 11, "here"), step(1, 6, 11, "here"))
    text = shown(finding(location=Location(1, 1, 3, 4), evidence=evidence), SOURCE)
    assert text.splitlines()[1:4] == [
        " 1 | with torch.no_grad():",
        "   | ^^^^^^^^^^^^^^^^^^^^^",
        "   |      ----- here",
    ]


def test_full_shows_evidence_of_other_files() -> None:
    evidence = (step(7, 1, 3, "called here", "y.py"),)
    result = Result(
        (finding(evidence=evidence),),
        2,
        (),
        {("x.py", Location(1, 1, 1, 2)): Excerpt(1, "abc"), ("y.py", Location(7, 1, 7, 3)): Excerpt(7, "def")},
    )
    stream = io.StringIO()
    report.write(result, "full", stream, quiet=True)
    assert stream.getvalue().splitlines()[1:6] == [
        " 1 | abc",
        "   | ^",
        "  ::: y.py",
        " 7 | def",
        "   | -- called here",
    ]


@pytest.mark.parametrize(
    ("source", "column", "end", "expected"),
    [
        ("\tx = 1", 2, 3, [" 1 |     x = 1", "   |     ^"]),
        ("'日本' + x", 8, 9, [" 1 | '日本' + x", "   |          ^"]),
        ("'e\u0301' + x", 8, 9, [" 1 | 'e\u0301' + x", "   |       ^"]),
        ("'\x1b' + x", 7, 8, [" 1 | '\\x1b' + x", "   |          ^"]),
        ("x", 9, 9, [" 1 | x", "   |  ^"]),
    ],
)
def test_carets_stand_under_what_they_mean(source: str, column: int, end: int, expected: list[str]) -> None:
    text = shown(finding(location=Location(1, column, 1, end)), source)
    assert text.splitlines()[1:3] == expected


def test_endless_lines_are_cut_around_the_place() -> None:
    source = "a" * 5_000 + "BAD" + "b" * 5_000
    line, carets = shown(finding(location=Location(1, 5_001, 1, 5_004)), source).splitlines()[1:3]
    assert line[carets.index("^") :].startswith("BAD") and carets.endswith("^^^")
    assert line.startswith(" 1 | ...aa") and line.endswith("b...") and len(line) < 140


def test_summary_counts_what_was_lost() -> None:
    assert shown(finding(), failed=("x.py",)).endswith(
        "Found 1 finding in 1 file (3 files checked, 1 not fully analysed)\n"
    )


def test_concise_is_a_line_per_finding() -> None:
    assert shown(finding(path="a\nb.py"), form="concise").splitlines()[0] == "a\\x0ab.py:1:1: GRD101 this is wrong"


def test_github_commands_cannot_be_forged() -> None:
    text = shown(
        finding(
            path="a,b:c%\n::error::x.py",
            message="m % \r\n::stop-commands::t",
            severity=Severity.INFO,
            location=Location(2, 3, 4, 5),
        ),
        form="github",
    )
    assert text == (
        "::notice title=gradlint (GRD101),file=a%2Cb%3Ac%25\\x0a%3A%3Aerror%3A%3Ax.py,line=2,endLine=4::"
        "a,b:c%25\\x0a::error::x.py:2:3: GRD101 m %25 \\x0d\\x0a::stop-commands::t%0Ahelp: do that\n"
    )


def test_github_shows_the_worst_first() -> None:
    levels = [Severity.INFO, Severity.ERROR, Severity.WARNING]
    stream = io.StringIO()
    report.write(Result(tuple(finding(severity=level) for level in levels), 1), "github", stream)
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["::error", "::warning", "::notice"]


def test_json_holds_everything_in_ascii() -> None:
    text = shown(finding(path="\udcff é.py", evidence=(step(1, 2, 3, "é"),)), form="json")
    assert text.isascii()
    assert json.loads(text) == {
        "version": 1,
        "findings": [
            {
                "code": "GRD101",
                "name": "backward-without-graph",
                "severity": "error",
                "certainty": "certain",
                "path": "\udcff é.py",
                "line": 1,
                "column": 1,
                "end_line": 1,
                "end_column": 2,
                "message": "this is wrong",
                "help": "do that",
                "evidence": [{"path": "x.py", "line": 1, "column": 2, "end_line": 1, "end_column": 3, "text": "é"}],
                "fixes": [],
            }
        ],
        "summary": {"files": 3, "findings": 1, "by_code": {"GRD101": 1}, "not_analysed": []},
    }


@pytest.fixture
def sarif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the only run of a log of real findings, and of names that are hard to write as an address."""
    monkeypatch.chdir(tmp_path)
    bad = "import torch\n\n\ndef f(x):\n    with torch.no_grad():\n        y = x * 2\n    y.backward()\n"
    names = ("a b#%é.py", "sub/dir:x.py", "\udcff\n.py")
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_text(bad * 2)
    (tmp_path / "broken.py").write_text(bad + "(")
    stream = io.StringIO()
    report.write(check_paths(["."], Config()), "sarif", stream)
    log = json.loads(stream.getvalue())
    jsonschema.Draft202012Validator(SUBSET, format_checker=jsonschema.FormatChecker()).validate(log)
    run: dict[str, Any] = log["runs"][0]
    return run


def test_sarif_addresses_are_relative_and_encoded(sarif: dict[str, Any], tmp_path: Path) -> None:
    places = [result["locations"][0]["physicalLocation"]["artifactLocation"] for result in sarif["results"]]
    assert {place["uri"] for place in places} == {"a%20b%23%25%C3%A9.py", "sub/dir%3Ax.py", "%FF%0A.py"}
    assert {place["uriBaseId"] for place in places} == {"SRCROOT"}
    assert sarif["originalUriBaseIds"]["SRCROOT"]["uri"] == tmp_path.as_uri() + "/"
    assert sarif["columnKind"] == "unicodeCodePoints"


def test_sarif_tells_the_story_and_the_rule(sarif: dict[str, Any]) -> None:
    [flow] = sarif["results"][0]["codeFlows"]
    steps = [each["location"] for each in flow["threadFlows"][0]["locations"]]
    lines = [each["physicalLocation"]["region"]["startLine"] for each in steps]
    assert lines == [5, 6, 7] and all(each["message"]["text"] for each in steps)
    rule = sarif["tool"]["driver"]["rules"][sarif["results"][0]["ruleIndex"]]
    assert rule["id"] == "GRD101" and "## Use instead" in rule["help"]["markdown"]


def test_sarif_identities_are_unique_and_survive_moving(sarif: dict[str, Any]) -> None:
    prints = [result["partialFingerprints"]["gradlint/v1"] for result in sarif["results"]]
    assert len(set(prints)) == len(prints) == 6
    assert {each.rpartition(":")[2] for each in prints} == {"0", "1"}


def test_sarif_tells_of_what_was_not_analysed(sarif: dict[str, Any]) -> None:
    [invocation] = sarif["invocations"]
    assert invocation["executionSuccessful"] is False
    [notification] = invocation["toolExecutionNotifications"]
    assert notification["descriptor"]["id"] == "GRD000"
    assert "GRD000" not in {result["ruleId"] for result in sarif["results"]}


def test_sarif_outside_the_root_is_absolute() -> None:
    for path, start in (("/a b/x.py", "file:///a%20b/x.py"), ("../x.py", "file:///")):
        log = json.loads(shown(finding(path=path), form="sarif"))
        artifact = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        assert artifact["uri"].startswith(start) and "uriBaseId" not in artifact


def test_what_cannot_be_seen_is_made_visible() -> None:
    assert visible("a\tb\x00\x1b\x7f\x9b\u202e\u200b\u2028\ufeff\udc80\ud800\U000e0041é日😀") == (
        "a\tb\\x00\\x1b\\x7f\\x9b\\u202e\\u200b\\u2028\\ufeff\\x80\\ud800\\U000e0041é日😀"
    )
    assert github_data("100%\n") == "100%25\\x0a"
    assert github_property("a:b,c") == "a%3Ab%2Cc"
    assert sarif_text("[x](y)") == "[x] (y)"
