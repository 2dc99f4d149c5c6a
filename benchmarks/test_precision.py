"""Verdicts that find their line again in another version, and the precision that follows."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import judge
import precision
import pytest
import verdicts
from corpus import Package
from linting import Site
from verdicts import Verdict, VerdictError

OLD, NEW = "1.0", "2.0"


def site(line: int, version: str = NEW, code: str = "GRD101", path: str = "timm/a.py") -> Site:
    return Site("timm", version, path, line, code)


def said(line: int, word: str, text: str = "", version: str = OLD, code: str = "GRD101") -> Verdict:
    return Verdict(site(line, version, code), word, "because", text)


def matched(found: Mapping[Site, str], *judged: Verdict) -> dict[int, tuple[str, int]]:
    known = precision.match(found, {verdict: verdict.text for verdict in judged})
    return {place.line: (verdict.verdict, verdict.site.line) for place, verdict in known.items()}


# -- matching ----------------------------------------------------------------------------------------------


def test_a_verdict_goes_with_its_line() -> None:
    found = {site(9): "loss.backward()", site(5): "x.clamp_()"}
    judged = [said(3, "true", "loss.backward()"), said(4, "false", "x.clamp_(0)")]
    assert matched(found, *judged) == {9: ("true", 3)}


def test_a_verdict_on_the_place_itself_comes_first() -> None:
    found = {site(9): "loss.backward()"}
    judged = [said(9, "false", "loss.backward()", NEW), said(9, "true", "loss.backward()")]
    assert matched(found, *judged) == {9: ("false", 9)}
    # Even where the row does not hold the line.
    assert matched(found, said(9, "unsure", "", NEW)) == {9: ("unsure", 9)}


@pytest.mark.parametrize(
    "other",
    [said(3, "true", "loss.backward()", code="GRD102"), said(3, "true"), said(3, "true", "loss.backward()", NEW)],
)
def test_another_rule_an_unknown_line_and_the_same_version_do_not_match(other: Verdict) -> None:
    assert matched({site(9): "loss.backward()"}, other) == {}
    assert matched({site(9): ""}, other) == {}


def test_equal_lines_are_told_apart_by_their_order_or_not_at_all() -> None:
    text = "x += 1"
    found = {site(20): text, site(10): text}
    assert matched(found, said(5, "true", text), said(4, "false", text)) == {10: ("false", 4), 20: ("true", 5)}
    assert matched(found, said(4, "false", text), said(5, "true", text), said(6, "true", text)) == {}
    assert matched(found, said(4, "true", text)) == {10: ("true", 4)}
    more = [said(number, "true", text) for number in (4, 5, 6)]
    assert matched(found, *more) == {10: ("true", 4), 20: ("true", 5)}


def test_rows_may_hold_the_line() -> None:
    row = said(3, "true", "x\t= 'ä'")
    assert verdicts.read(row.line(), "input") == [row]
    assert '"text"' not in said(3, "true").line()
    for wrong in (5, "a\nb"):
        with pytest.raises(VerdictError, match="input:1: text must be a line of the source"):
            verdicts.read(json.dumps({**json.loads(row.line()), "text": wrong}), "input")


# -- the command -------------------------------------------------------------------------------------------

SOURCE = "first = 1\n  loss.backward()\nthird = 3\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one pinned package, timm 2.0."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("timm/a.py", SOURCE)
    folder = tmp_path / "cache" / "downloads"
    folder.mkdir(parents=True)
    (folder / "w.whl").write_bytes(stream.getvalue())
    package = Package("timm", NEW, "w.whl", hashlib.sha256(stream.getvalue()).hexdigest(), "timm")
    for module in (precision, judge):
        monkeypatch.setattr(module, "pinned", lambda only: [package])
    return tmp_path / "cache"


def run(cache: Path, places: Sequence[tuple[int, str]], judged: Sequence[Verdict], *options: str) -> int:
    findings = [
        {"code": code, "path": str(cache / "timm-2.0/timm/a.py"), "line": line, "message": "m", "certainty": "likely"}
        for line, code in places
    ]
    report = {"findings": [{**each, "evidence": []} for each in findings], "summary": {"files": 1}}
    script = cache / "fake.py"
    script.write_text(f"print({json.dumps(report)!r})\n", encoding="utf-8")
    (cache / "judged.jsonl").write_text("".join(each.line() + "\n" for each in judged), encoding="utf-8")
    command = f"{sys.executable} {script}"
    arguments = ["--judged", str(cache / "judged.jsonl"), "--cache", str(cache), "--gradlint", command]
    return precision.main([*arguments, *options])


def test_the_command_says_all(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = [said(1, "true", "loss.backward()"), said(1, "false", "", NEW), said(9, "false", "gone()")]
    judged.append(said(3, "true", "", NEW, "GRD999"))
    assert run(cache, [(1, "GRD101"), (2, "GRD101"), (2, "GRD101"), (3, "GRD102"), (1, "GRD000")], judged) == 1
    assert (
        capsys.readouterr().out
        == """\
rule    places  true  false  unsure  unjudged  precision
GRD101       2     1      1       0         0  50.0%
GRD102       1     0      0       0         1  -
all          3     1      1       0         1  50.0%

false alarms: 1
  timm 2.0 timm/a.py:1 GRD101: because

not judged yet: 1
  timm 2.0 timm/a.py:3 GRD102  third = 3

judged, but not found any more: 2
  timm 1.0 timm/a.py:9 GRD101 was false: because
  timm 2.0 timm/a.py:3 GRD999 was true: because
"""
    )


def test_the_exit_status_says_whether_the_figures_hold(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [said(1, "true", "", NEW), said(2, "false", "", NEW)]
    assert run(cache, [(1, "GRD101"), (2, "GRD101")], both) == 0
    assert run(cache, [(1, "GRD101"), (2, "GRD101")], both, "--at-least", "50") == 0
    assert run(cache, [(1, "GRD101"), (2, "GRD101")], both, "--at-least", "51") == 1
    assert run(cache, [(1, "GRD101"), (2, "GRD101")], both[:1]) == 1
    assert run(cache, [], both) == 0
    assert run(cache, [], both, "--at-least", "1") == 1
    capsys.readouterr()
    assert run(cache, [(1, "GRD002")], both) == 1
    assert capsys.readouterr().out.endswith("\nFAILED\ntimm 2.0 timm/a.py:1 GRD002 m\n")
    assert run(cache, [], [*both, both[0]]) == 2


def test_judging_keeps_the_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[Verdict] = []
    monkeypatch.setattr(verdicts, "load", lambda: {})
    monkeypatch.setattr(verdicts, "save", lambda judged: saved.extend(judged.values()))
    assert judge.add(said(2, "true", "", NEW).line(), cache, replace=False) == 0
    assert saved == [said(2, "true", "loss.backward()", NEW)]
    with pytest.raises(VerdictError, match=r"no such line in timm 2\.0: timm 2\.0 timm/a\.py:9 GRD101"):
        judge.add(said(9, "true", "", NEW).line(), cache, replace=False)
