"""``gradlint verify --rule``: the bad and the good example of a page on every device, with a verdict."""

from __future__ import annotations

import io
import json
import platform
from typing import Any

import pytest
import torch
from wellformed import PAGE

from gradlint import registry
from gradlint.runtime import devices
from gradlint.runtime.truth import Contrast, Outcome
from gradlint.runtime.verify import rule_check
from gradlint.runtime.verify.rule_check import CONFIRMED, MISUSED, REFUTED, run
from gradlint.testing import Claim

pytestmark = pytest.mark.torch


def checked(code: str, form: str = "full", on: list[str] | None = None) -> tuple[int, str]:
    stream = io.StringIO()
    return run(code, form, on or ["cpu"], stream), stream.getvalue()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give every rule the page that the test sets."""

    def set_page(text: str) -> None:
        monkeypatch.setattr(registry, "page", lambda _: text)

    return set_page


def test_a_claim_that_holds_is_confirmed(device: str) -> None:
    status, text = checked("backward-without-graph", on=[device])
    assert status == CONFIRMED
    lines = text.splitlines()
    assert lines.pop(6).startswith("      recorded for its line 7: CONFIRMED: 1 backward here, which raised `Runt")
    assert lines == [
        f"torch {torch.__version__}, Python {platform.python_version()}",
        "",
        'GRD101 backward-without-graph: its example raises RuntimeError "does not require grad"',
        f"  CONFIRMED on {device} ({devices.described(device)})",
        "    bad example: raised RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
        "      at its line 7: loss.backward()",
        "    good example: raised nothing",
        "",
        f"1 rule on {device}: 1 CONFIRMED",
    ]


def test_json_says_the_same() -> None:
    status, text = checked("GRD102", "json")
    data = json.loads(text)
    assert status == CONFIRMED
    assert (data["torch"], data["python"]) == (torch.__version__, platform.python_version())
    (rule,) = data["rules"]
    (found,) = rule["devices"]
    assert (rule["code"], rule["name"], rule["claim"]) == ("GRD102", "missing-no-grad", "shows out.requires_grad")
    assert found["device"] == "cpu" and found["hardware"] == devices.described("cpu")
    assert found["verdict"] == "CONFIRMED" and found["problems"] == []
    ran: dict[str, object] = {"raised": None, "line": None, "source": None, "warned": [], "finished": True}
    assert [(each["line"], each["verdict"]) for each in found["bad"].pop("recorded")] == [(6, "CONFIRMED")]
    assert found["bad"] == ran | {"shown": True}
    assert found["good"] == ran | {"shown": False, "recorded": []}


@pytest.mark.parametrize(
    ("claim", "lines"),
    [
        ("y.requires_grad", ["bad example: the expression is False", "good example: the expression is True"]),
        ("True", ["bad example: the expression is True", "good example: the expression is True"]),
        ("undefined", ["bad example: raised NameError: name 'undefined' is not defined"]),
    ],
)
def test_a_claim_that_does_not_hold_is_refuted(page: Any, claim: str, lines: list[str]) -> None:
    page(PAGE.replace("# shows: not y.requires_grad", f"# shows: {claim}"))
    status, text = checked("GRD101")
    assert status == REFUTED
    assert "  REFUTED on cpu (" in text and text.endswith("\n1 rule on cpu: 1 REFUTED\n")
    assert all(f"    {line}\n" in text for line in lines)
    status, text = checked("GRD101", "json")
    (found,) = json.loads(text)["rules"][0]["devices"]
    assert status == REFUTED and found["verdict"] == "REFUTED" and found["problems"]


def test_warnings_are_shown(page: Any) -> None:
    warns = 'import warnings\nif not y.requires_grad:\n    warnings.warn("gradients off")\n```'
    text = PAGE.replace("# shows: not y.requires_grad", '# warns: UserWarning "off"')
    page(text.replace("=True))\n```", f"=True))\n{warns}"))
    status, text = checked("GRD101")
    assert status == CONFIRMED
    assert "    bad example: raised nothing\n      warned UserWarning: gradients off\n    good example" in text


def test_every_rule_holds() -> None:
    status, text = checked("ALL")
    claims = [rule for rule in registry.all_rules() if not rule.code.startswith("GRD0")]
    assert status == CONFIRMED
    assert text.endswith(f"\n{len(claims)} rules on cpu: {len(claims)} CONFIRMED\n")
    assert "GRD001" not in text


def test_rules_about_text_have_nothing_to_run() -> None:
    status, text = checked("GRD001")
    assert status == CONFIRMED
    assert "GRD001 unused-suppression makes no claim about autograd: there is nothing to run" in text


@pytest.mark.parametrize(
    ("code", "form", "on", "words"),
    [
        ("GRD999", "full", ["cpu"], "unknown rule `GRD999`"),
        ("backward-without-grap", "full", ["cpu"], "did you mean `backward-without-graph`?"),
        ("GRD101", "html", ["cpu"], "--rule has no html form: choose full or json"),
        ("GRD101", "full", ["tpu9"], "torch knows no device called 'tpu9'"),
        ("GRD101", "json", ["cpu", "cuda:99"], "there is no device 'cuda:99' on this machine"),
    ],
)
def test_misuse_is_one_line(
    code: str, form: str, on: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(code, form, on) == (MISUSED, "")
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ") and words in complaint and complaint.count("\n") == 1


def test_all_devices_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "meta"])
    stream = io.StringIO()
    assert run("GRD102", "json", None, stream) == CONFIRMED
    assert [each["device"] for each in json.loads(stream.getvalue())["rules"][0]["devices"]] == ["cpu", "meta"]


def test_endless_examples_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Contrast(Claim("ok"), Outcome(), Outcome())
    monkeypatch.setattr(rule_check, "contrast", lambda *_: endless)
    status, text = checked("GRD101")
    assert status == REFUTED
    assert text.count("did not end in time") == 2
