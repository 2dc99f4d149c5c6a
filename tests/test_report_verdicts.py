"""How a verification is reported, in every format."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradlint import Certainty, Evidence, Finding, Location, Severity
from gradlint.report import verdicts
from gradlint.report.terminal import STYLES
from gradlint.runtime.recording import Raised, Recording
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify.verification import Verification
from gradlint.source.positions import Lines

pytestmark = pytest.mark.torch

SUBSET = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-subset.json").read_text())
SOURCE = "with torch.no_grad():\n    loss = f(x)\nloss.backward()\n"
HERE = Location(3, 1, 3, 16)


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "code": "GRD101",
        "name": "backward-without-graph",
        "severity": Severity.ERROR,
        "certainty": Certainty.CERTAIN,
        "path": "x.py",
        "location": HERE,
        "message": "this is wrong",
        "help": "do that",
        "evidence": (Evidence("x.py", Location(1, 6, 1, 21), "gradients off here"),),
    }
    return Finding(**{**values, **changes})


def verified(verdict: Verdict = Verdict.CONFIRMED, *figures: str, hits: int = 1, **changes: Any) -> Verified:
    return Verified(finding(**changes), verdict, figures, hits)


def verification(*found: Verified, recording: Recording | None = None, **changes: Any) -> Verification:
    lines = Lines(SOURCE)
    places = (HERE, Location(1, 6, 1, 21), Location(2, 1, 2, 1))
    excerpts = {("x.py", place): lines.excerpt(place) for place in places}
    recorded = recording or Recording(3, "2.13.0", "3.11.7", ("cpu",))
    values: dict[str, Any] = {"program": "x.py", "code": 0, "files": 2, "failures": (), "excerpts": excerpts}
    return Verification(verified=found, recording=recorded, **{**values, **changes})


def shown(found: Verification, form: str = "full", quiet: bool = False) -> str:
    stream = io.StringIO()
    verdicts.write(found, form, stream, quiet)
    return stream.getvalue()


def test_a_verdict_stands_with_its_figures_in_the_source() -> None:
    assert shown(verification(verified(Verdict.CONFIRMED, "1 backward raised", "and more"))) == (
        "CONFIRMED x.py:3:1: GRD101 this is wrong\n"
        " 1 | with torch.no_grad():\n"
        "   |      --------------- gradients off here\n"
        " 2 |     loss = f(x)\n"
        " 3 | loss.backward()\n"
        "   | ^^^^^^^^^^^^^^^\n"
        "   = run: 1 backward raised\n"
        "   = run: and more\n"
        "   = help: do that\n"
        "\n"
        "1 confirmed (2 files linted; torch 2.13.0, Python 3.11.7, cpu, level 3)\n"
    )


def test_what_matters_most_comes_first() -> None:
    found = [verified(verdict, "figure", message=verdict.value.lower()) for verdict in reversed(Verdict)]
    text = shown(verification(*found, replace(found[-2], finding=finding(path="y.py"))))
    words = ["CONFIRMED", "OBSERVED", "INCONCLUSIVE", "REFUTED", "REFUTED", "NOT REACHED"]
    heads = [line.partition(" x.py")[0].partition(" y.py")[0] for line in text.splitlines() if ": GRD101 " in line]
    assert heads == words
    assert text.endswith(
        "NOT REACHED x.py:3:1: GRD101 not reached\n"
        "\n"
        "1 confirmed, 1 observed, 1 inconclusive, 2 refuted, 1 not reached"
        " (2 files linted; torch 2.13.0, Python 3.11.7, cpu, level 3)\n"
    )
    assert set(words) <= STYLES.keys()


def test_quiet_leaves_out_the_summary() -> None:
    text = shown(verification(verified(Verdict.NOT_REACHED, hits=0), code=3), quiet=True)
    assert text == "NOT REACHED x.py:3:1: GRD101 this is wrong\n\n"


def test_nothing_to_say() -> None:
    recording = Recording(1, "2.13.0", "3.11.7", ("cpu", "NVIDIA H200"), ranks=2, notes=("rank 1 of 2 died\x1b",))
    assert shown(verification(recording=recording, files=1)) == (
        "note: rank 1 of 2 died\\x1b\n"
        "Nothing found and nothing seen"
        " (1 file linted; torch 2.13.0, Python 3.11.7, cpu, NVIDIA H200, 2 ranks, level 1)\n"
    )


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (None, 3, "the program ended with exit code 3"),
        (Raised("SystemExit", "3", ()), 3, "the program ended with exit code 3"),
        (Raised("ValueError", "no\nnever", ()), 1, "the program raised ValueError: no"),
        (Raised("KeyboardInterrupt", "", ()), 130, "the program raised KeyboardInterrupt"),
    ],
)
def test_how_the_program_ended(raised: Raised | None, code: int, words: str) -> None:
    text = shown(verification(recording=Recording(raised=raised), code=code))
    assert text.splitlines()[0] == f"note: {words}"


def test_what_was_not_analysed() -> None:
    lost = finding(code="GRD000", name="syntax-error", path="z.py", message="not analysed: bad", evidence=())
    found = verification(verified(), failures=(lost, lost))
    assert "(2 files linted, 1 not fully analysed; torch" in shown(found)
    assert json.loads(shown(found, "json"))["summary"]["not_analysed"] == ["z.py"]
    (run,) = json.loads(shown(found, "sarif"))["runs"]
    assert [each["descriptor"]["id"] for each in run["invocations"][0]["toolExecutionNotifications"]] == ["GRD000"] * 2
    assert run["invocations"][0]["executionSuccessful"] is False and len(run["results"]) == 1


def test_json_is_the_linters_and_more() -> None:
    raised = Raised("ValueError", "no", ())
    recording = Recording(2, "2.13.0", "3.11.7", ("cpu",), seconds=1.5, raised=raised, notes=("n",))
    one = verified(Verdict.REFUTED, "f", hits=4)
    found = json.loads(shown(verification(one, recording=recording, code=1), "json"))
    (listed,) = found["findings"]
    assert (listed["code"], listed["line"], listed["verdict"]) == ("GRD101", 3, "REFUTED")
    assert (listed["figures"], listed["hits"]) == (["f"], 4)
    assert found["version"] == 1 and found["summary"] == {
        "files": 2,
        "findings": 1,
        "by_code": {"GRD101": 1},
        "by_verdict": {"REFUTED": 1},
        "not_analysed": [],
    }
    assert found["run"] == {
        "program": "x.py",
        "exit_code": 1,
        "raised": {"type": "ValueError", "message": "no"},
        "level": 2,
        "torch": "2.13.0",
        "python": "3.11.7",
        "devices": ["cpu"],
        "ranks": 1,
        "seconds": 1.5,
        "notes": ["n"],
    }


def test_sarif_keeps_refuted_findings_apart() -> None:
    seen = verified(Verdict.OBSERVED, "3 edits", code="GRD997", name="no-such-rule", evidence=())
    found = verification(verified(Verdict.REFUTED), verified(Verdict.NOT_REACHED, hits=0), seen)
    log = json.loads(shown(found, "sarif"))
    jsonschema.validate(log, SUBSET)
    (run,) = log["runs"]
    not_reached, observed = run["results"]
    assert "kind" not in observed and observed["level"] == "error"
    assert observed["message"]["text"] == "OBSERVED: this is wrong (3 edits); do that"
    assert not_reached["message"]["text"] == "NOT REACHED: this is wrong; do that"
    assert not_reached["properties"] == {"certainty": "certain", "verdict": "NOT REACHED", "figures": [], "hits": 0}
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["GRD101", "GRD997"]
    assert run["tool"]["driver"]["rules"][1]["name"] == "NoSuchRule"
    assert [each["verdict"] for each in run["properties"]["refuted"]] == ["REFUTED"]
    assert run["properties"]["run"]["torch"] == "2.13.0"


def test_html_is_a_page() -> None:
    page = shown(verification(verified(Verdict.CONFIRMED, "<b>1</b> backward")), "html")
    assert page.startswith("<!") and "CONFIRMED" in page and "&lt;b&gt;1&lt;/b&gt; backward" in page
