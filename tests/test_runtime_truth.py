"""Running claims: true ones hold, false ones do not, and nothing a run leaves behind reaches the next."""

from __future__ import annotations

import linecache
import threading
import traceback

import pytest
import torch
from wellformed import PAGE

from gradlint import check_source
from gradlint.registry import all_rules, page
from gradlint.rule import Rule
from gradlint.runtime.arguments import NAMES, _fresh, arguments_for
from gradlint.runtime.claims import verify
from gradlint.runtime.devices import NoSuchDevice, available, chosen, described
from gradlint.runtime.observations import observe
from gradlint.runtime.truth import Outcome, check_claim, contrast, examples, run_apart
from gradlint.runtime.verdict import Verdict
from gradlint.testing import Page, parse_page
from gradlint.testing.torch_claims import parse_claim

pytestmark = pytest.mark.torch

LEAK = "import torch\nkept = []\ndef f_bad(model, x):\n    {leak}\n    return None\n"


def outcome(text: str, claim: str, name: str = "f_bad") -> str | None:
    return check_claim(text, "fixture.py", name, parse_claim(claim, "test"))


def problems(text: str, device: str = "cpu") -> list[str]:
    return contrast(parse_page(text), "GRD101", device).problems()


def test_true_claims_hold_and_false_ones_do_not() -> None:
    text = "def f_bad(x):\n    x.sum().backward()\n"
    assert outcome(text, 'raises RuntimeError "does not require grad"') is None
    assert outcome(text, "raises Exception") is None
    assert "raised RuntimeError: element 0" in str(outcome(text, "ok"))
    assert "raised RuntimeError" in str(outcome(text, 'raises RuntimeError "other words"'))
    assert "raised RuntimeError" in str(outcome(text, "raises ValueError"))
    assert "raised RuntimeError" in str(outcome(text, "shows True"))
    assert "raised nothing" in str(outcome("def f_bad(): ...\n", "raises RuntimeError"))


def test_expressions_see_arguments_and_result() -> None:
    text = "def f_ok(model, optimizer, y, target):\n    return model\n"
    same = "result is model and y is target and optimizer.param_groups[0]['params'][0] is model[0].weight"
    assert outcome(text, f"shows {same} and torch.is_grad_enabled()", "f_ok") is None
    assert "the expression is False" in str(outcome(text, "shows result is None", "f_ok"))


@pytest.mark.parametrize(
    ("leak", "shown"),
    [
        ("torch.set_grad_enabled(False)", "not torch.is_grad_enabled()"),
        ("kept.append(torch.inference_mode()); kept[0].__enter__()", "torch.is_inference_mode_enabled()"),
        ("torch.set_default_dtype(torch.float64)", "torch.get_default_dtype() is torch.float64"),
        ("torch.set_default_device('meta')", "torch.ones(1).is_meta"),
        ("torch.autograd.set_detect_anomaly(True)", "torch.is_anomaly_enabled()"),
    ],
)
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_leaks_are_seen_and_stay_in_their_run(leak: str, shown: str) -> None:
    assert outcome(LEAK.format(leak=leak.replace("; ", "\n    ")), f"shows {shown}") is None
    assert outcome("def f_ok(): ...\n", f"shows not ({shown})", "f_ok") is None
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_coroutines_are_run() -> None:
    assert outcome("async def f_ok(x):\n    return x\n", "shows result is x", "f_ok") is None


def test_runs_repeat_exactly() -> None:
    assert outcome("def f_ok(x):\n    return float(x[0, 0])\n", "shows abs(result) > 0", "f_ok") is None
    torch.manual_seed(0)
    wanted = arguments_for(lambda x: None)
    torch.manual_seed(0)
    assert torch.equal(wanted["x"], arguments_for(lambda x: None)["x"])


def test_every_name_has_a_value() -> None:
    assert sorted(_fresh()) == sorted(NAMES)
    with pytest.raises(LookupError, match="no argument is called nonsense"):
        arguments_for(lambda nonsense: None)
    assert list(arguments_for(lambda x, *more, nonsense=1, **rest: None)) == ["x"]


def test_endless_runs_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlint.runtime.truth.SECONDS", 0.0)
    ended = threading.Event()

    def wait(_: Outcome) -> None:
        ended.wait()

    given_up = run_apart(wait)
    assert str(given_up) == "did not finish within 0 s"
    assert not given_up.holds(parse_claim("ok", "test"))
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "truth":
            thread.join()


# -- pages -------------------------------------------------------------------------------------------------


def test_runtime_checks_tell_bad_from_good(device: str) -> None:
    assert problems(PAGE, device) == []
    always = PAGE.replace("not y.requires_grad", "True")
    assert problems(always, device) == ["the good code was not to shows True, but: the expression is True"]
    never = PAGE.replace("not y.requires_grad", "False")
    assert problems(never, device) == ["the example was to shows False, but: the expression is False"]
    assert len(problems(PAGE.replace("y = f", "y = undefined"), device)) == 2


def test_runtime_checks_know_exceptions_and_warnings() -> None:
    call = "y = f(torch.ones(1, requires_grad=True))"
    raises = PAGE.replace("# shows: not y.requires_grad", '# raises: RuntimeError "does not require grad"')
    assert problems(raises.replace(call, f"{call}\ny.backward()")) == []
    warns = PAGE.replace("# shows: not y.requires_grad", '# warns: UserWarning "off"')
    warning = f'import warnings\n{call}\nif not y.requires_grad:\n    warnings.warn("gradients off")'
    assert problems(warns.replace(call, warning)) == []
    assert len(problems(warns)) == 1


def test_what_a_page_makes_lies_on_the_device() -> None:
    where = PAGE.replace("not y.requires_grad", "y.is_meta and nn.Linear(2, 1).weight.is_meta and not y.requires_grad")
    assert problems(where, "meta") == []
    assert len(problems(where, "cpu")) == 1
    assert torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize(
    "rule", [each for each in all_rules() if not each.code.startswith("GRD0")], ids=lambda rule: str(rule.code)
)
def test_pages_hold_while_they_are_recorded(rule: Rule, device: str) -> None:
    text = parse_page(page(rule))
    found = contrast(text, rule.code, device, level=3)
    assert found.problems() == []
    verdicts = []
    for example, outcome in zip(examples(text, rule.code), (found.bad, found.good), strict=True):
        assert outcome.recording is not None and outcome.recording.level == 3
        findings = [each for each in check_source(example.source, example.path) if each.code == rule.code]
        verdicts.append([each.verdict for each in verify(findings, outcome.recording, lambda _: None)])
    bad, good = verdicts
    assert set(bad) <= {Verdict.CONFIRMED, Verdict.INCONCLUSIVE}
    assert good == []
    assert found.good.recording is not None and observe(found.good.recording) == []


def test_errors_of_a_page_show_its_lines() -> None:
    shown: Page = parse_page(PAGE.replace("return x * 2  # error", "return x * None"))
    raised = contrast(shown, "GRD101").bad.raised
    assert raised is not None
    assert "return x * None" in "".join(traceback.format_exception(raised))
    assert linecache.getline("<GRD101 example>", 4) == "        return x * None\n"


# -- devices -----------------------------------------------------------------------------------------------


def test_devices_are_named_and_misnamed_ones_refused() -> None:
    assert available()[0] == "cpu" and all(described(name) for name in available())
    assert chosen(None) == available()
    assert chosen(["cpu", "cpu"]) == ["cpu"]
    with pytest.raises(NoSuchDevice, match="torch knows no device called 'nonsense'; here there are cpu"):
        chosen(["nonsense"])
    with pytest.raises(NoSuchDevice, match="there is no device 'cuda:99' on this machine; here there are cpu"):
        chosen(["cpu", "cuda:99"])
    with pytest.raises(NoSuchDevice, match="there is no device 'meta'"):
        chosen(["meta"])


@pytest.mark.parametrize("there", [0, 1])
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    assert available() == ["cpu", "cuda"][: 1 + there]
    if there:
        assert chosen(["cuda", "cuda:0"]) == ["cuda", "cuda:0"]
    with pytest.raises(NoSuchDevice):
        chosen(["cuda:1"])
