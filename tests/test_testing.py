"""The test kit itself: what it reads, what it accepts, and what it must notice."""

from __future__ import annotations

import re

import pytest

from gradlint.finding import Certainty, Finding, Location, Severity
from gradlint.testing import (
    Claim,
    ClaimError,
    Expectation,
    ExpectationError,
    PageError,
    check_claim,
    check_page,
    check_page_claim,
    compare,
    parse_claims,
    parse_expectations,
    parse_page,
    snapshot,
)
from gradlint.testing.arguments import NAMES, arguments_for
from gradlint.testing.truth import parse_claim


def found(line: int, code: str = "GRD101", message: str = "no graph") -> Finding:
    where = Location(line, 1, line, 5)
    return Finding(code, "some-name", Severity.ERROR, Certainty.CERTAIN, "f.py", where, message, "do it", ())


# -- expectations ------------------------------------------------------------------------------------------


def test_expectations_are_read_from_comments_only() -> None:
    text = 's = "# expect: GRD101"\nf()  # expect: GRD101 "a, b", GRD402  # todo-ok: GRD102\n'
    assert parse_expectations(text) == [
        Expectation("expect", "GRD101", 2, "a, b"),
        Expectation("expect", "GRD402", 2),
        Expectation("todo-ok", "GRD102", 2),
    ]


def test_expectations_stand_beside_other_comments() -> None:
    assert parse_expectations("f()  # gradlint: ignore[GRD101]  # expect: GRD001\n") == [
        Expectation("expect", "GRD001", 1)
    ]


@pytest.mark.parametrize(
    "comment", ["# expect GRD101", "# expect: ", "# expect: GRD101 graph", '# expect: GRD101 "graph', "# todo-ok: x"]
)
def test_unreadable_expectations_are_errors(comment: str) -> None:
    with pytest.raises(ExpectationError, match="line 1"):
        parse_expectations(f"f()  {comment}\n")


def test_broken_files_still_have_expectations() -> None:
    assert [each.code for each in parse_expectations("def f(  # expect: GRD000\n")] == ["GRD000"]


def test_comparison_is_strict_both_ways() -> None:
    wanted = parse_expectations('f()  # expect: GRD101 "graph"\ng()\n')
    assert compare(wanted, [found(1)]) == []
    assert compare(wanted, []) == ['line 1: wanted # expect: GRD101 "graph", found nothing']
    assert compare(wanted, [found(1), found(2)]) == ['line 2: unexpected GRD101 "no graph"']
    assert compare(wanted, [found(1), found(1)]) == ['line 1: unexpected GRD101 "no graph"']
    other, missing = compare(wanted, [found(1, message="other")])
    assert other == 'line 1: unexpected GRD101 "other"'
    assert missing == 'line 1: wanted # expect: GRD101 "graph", found GRD101 "other"'
    assert len(compare(wanted, [found(1, code="GRD102")])) == len(compare(wanted, [found(2)])) == 2


def test_words_choose_before_codes() -> None:
    wanted = parse_expectations('f()  # expect: GRD101, GRD101 "first"\n')
    assert compare(wanted, [found(1, message="first"), found(1, message="second")]) == []


def test_known_errors_fail_when_they_change() -> None:
    missed, alarm = parse_expectations("f()  # todo-expect: GRD101\n"), parse_expectations("f()  # todo-ok: GRD101\n")
    assert compare(missed, []) == []
    assert compare(missed, [found(1)]) == ["line 1: GRD101 is found now: turn `todo-expect` into `expect`"]
    assert compare(alarm, [found(1)]) == []
    assert compare(alarm, []) == ["line 1: GRD101 is no longer reported: remove `todo-ok`"]


def test_snapshots_are_what_the_command_prints() -> None:
    text = "import torch\nwith torch.no_grad()\n    pass\n"
    assert snapshot(text, "f.py").startswith("f.py:2:21: GRD000 ")
    assert snapshot(text, "f.py").splitlines()[-1].startswith("   = help: ")
    assert snapshot("import torch\n", "f.py") == ""


# -- claims ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("ok", Claim("ok")),
        ('raises RuntimeError "a "b" c"', Claim("raises", "RuntimeError", 'a "b" c')),
        ("raises TypeError", Claim("raises", "TypeError")),
        ("shows w.grad is None", Claim("shows", "w.grad is None")),
        ("not run -- needs two GPUs", Claim("not run", "needs two GPUs")),
    ],
)
def test_claims_are_read(text: str, claim: Claim) -> None:
    assert parse_claim(text, "here") == claim


@pytest.mark.parametrize("text", ["", "fine", "ok maybe", "raises", "shows", "shows a b", "not run", "not run -- "])
def test_unreadable_claims_are_errors(text: str) -> None:
    with pytest.raises(ClaimError, match="here"):
        parse_claim(text, "here")


def test_claims_stand_above_decorators() -> None:
    text = "# runtime: ok\n@decorate\ndef f_ok():\n    def g_bad(): ...\n\nclass C:\n    def h_bad(self): ...\n"
    assert parse_claims(text) == {"f_ok": Claim("ok")}


@pytest.mark.parametrize(
    "text",
    [
        "def f_bad(): ...\n",
        "# runtime: ok\n\ndef f_bad(): ...\n",
        "# runtime: ok\ndef helper(): ...\n",
        "# runtime: ok\ndef f_bad(): ...\n# runtime: ok\ndef f_bad(): ...\n",
    ],
)
def test_misplaced_claims_are_errors(text: str) -> None:
    with pytest.raises(ClaimError, match="line"):
        parse_claims(text)


# -- running -----------------------------------------------------------------------------------------------

LEAK = "import torch\nkept = []\ndef f_bad(model, x):\n    {leak}\n    return model(x)\n"


def outcome(text: str, claim: str, name: str = "f_bad") -> str | None:
    return check_claim(text, "fixture.py", name, parse_claim(claim, "test"))


@pytest.mark.torch
def test_true_claims_hold_and_false_ones_do_not() -> None:
    text = "def f_bad(x):\n    x.sum().backward()\n"
    assert outcome(text, 'raises RuntimeError "does not require grad"') is None
    assert outcome(text, "raises Exception") is None
    assert "raised RuntimeError: element 0" in str(outcome(text, "ok"))
    assert "raised RuntimeError" in str(outcome(text, 'raises RuntimeError "other words"'))
    assert "raised RuntimeError" in str(outcome(text, "raises ValueError"))
    assert "raised RuntimeError" in str(outcome(text, "shows True"))
    assert "raised nothing" in str(outcome("def f_bad(): ...\n", "raises RuntimeError"))


@pytest.mark.torch
def test_expressions_see_arguments_and_result() -> None:
    text = "def f_ok(model, optimizer, y, target):\n    return model\n"
    same = "result is model and y is target and optimizer.param_groups[0]['params'][0] is model[0].weight"
    assert outcome(text, f"shows {same} and torch.is_grad_enabled()", "f_ok") is None
    assert "the expression is False" in str(outcome(text, "shows result is None", "f_ok"))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("leak", "shown"),
    [
        ("torch.set_grad_enabled(False)", "not torch.is_grad_enabled()"),
        ("kept.append(torch.inference_mode()); kept[0].__enter__()", "torch.is_inference_mode_enabled()"),
        ("torch.set_default_dtype(torch.float64)", "torch.get_default_dtype() is torch.float64"),
        ("torch.autograd.set_detect_anomaly(True)", "torch.is_anomaly_enabled()"),
    ],
)
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_leaks_are_seen_and_stay_in_their_run(leak: str, shown: str) -> None:
    text = LEAK.format(leak=leak.replace("; ", "\n    ")).replace("return model(x)", "return None")
    assert outcome(text, f"shows {shown}") is None
    assert outcome("def f_ok(): ...\n", f"shows not ({shown})", "f_ok") is None
    import torch

    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.torch
def test_coroutines_are_run() -> None:
    assert outcome("async def f_ok(x):\n    return x\n", "shows result is x", "f_ok") is None


@pytest.mark.torch
def test_runs_repeat_exactly() -> None:
    assert outcome("first = []\ndef f_ok(x):\n    return float(x[0, 0])\n", "shows abs(result) > 0", "f_ok") is None
    import torch

    torch.manual_seed(0)
    wanted = arguments_for(lambda x: None)
    torch.manual_seed(0)
    assert torch.equal(wanted["x"], arguments_for(lambda x: None)["x"])


@pytest.mark.torch
def test_every_name_has_a_value() -> None:
    from gradlint.testing.arguments import _fresh

    assert sorted(_fresh()) == sorted(NAMES)
    with pytest.raises(LookupError, match="no argument is called nonsense"):
        arguments_for(lambda nonsense: None)
    assert list(arguments_for(lambda x, *more, nonsense=1, **rest: None)) == ["x"]


# -- pages -------------------------------------------------------------------------------------------------

PAGE = """Something is wrong.

## Why this is wrong

Because.

## Examples

```python
import torch
def f(x):
    with torch.no_grad():
        return x * 2  # error
```

## Use instead

```python
def f(x):
    return x * 2
```

## Known limits

None.

## Runtime check

```python
# shows: not y.requires_grad
y = f(torch.ones(1, requires_grad=True))
```
"""


def test_pages_are_split() -> None:
    page = parse_page(PAGE)
    assert page.summary == "Something is wrong."
    assert page.sections["Why this is wrong"] == "Because."
    (example,) = page.python("Examples")
    assert (example.line, example.error_lines, example.flags) == (10, [4], ())
    assert PAGE.splitlines()[example.line - 1] == example.code.splitlines()[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("## Use instead", "## Instead", "headings"),
        ("## Known limits\n\nNone.\n\n", "", "headings"),
        ("## Known limits", "## Examples", "twice"),
        ("Something is wrong.\n", "", "sentence"),
        ("Because.\n", "", "nothing stands under"),
        ("```python\ndef f(x):\n    return x * 2\n```", "Nothing.", "no python block"),
        ("requires_grad=True))\n```", "requires_grad=True))", "not closed"),
    ],
)
def test_broken_pages_are_errors(old: str, new: str, words: str) -> None:
    assert old in PAGE
    with pytest.raises(PageError, match=re.escape(words)):
        parse_page(PAGE.replace(old, new, 1))


def test_pages_are_linted_strictly() -> None:
    page = parse_page(PAGE)
    at = {"with": found(4)}
    assert check_page(page, "GRD101", lambda text, _: [at["with"]] if "with" in text else []) == []
    assert check_page(page, "GRD101", lambda *_: []) == ["line 13: GRD101 is not reported"]
    everywhere = check_page(page, "GRD101", lambda *_: [found(1), found(1, "GRD102")])
    assert everywhere == [
        'line 10: unexpected GRD101 "no graph"',
        "line 13: GRD101 is not reported",
        'line 19: unexpected GRD101 "no graph"',
    ]
    silent = parse_page(PAGE.replace("  # error", ""))
    assert "no line that ends in" in check_page(silent, "GRD101", lambda *_: [])[0]


@pytest.mark.torch
def test_runtime_checks_tell_bad_from_good() -> None:
    assert check_page_claim(parse_page(PAGE), "GRD101") == []
    always = parse_page(PAGE.replace("not y.requires_grad", "True"))
    assert check_page_claim(always, "GRD101") == ["the good code was not to shows True, but: the expression is True"]
    never = parse_page(PAGE.replace("not y.requires_grad", "False"))
    assert check_page_claim(never, "GRD101") == ["the example was to shows False, but: the expression is False"]
    broken = parse_page(PAGE.replace("y = f", "y = undefined"))
    assert len(check_page_claim(broken, "GRD101")) == 2
    with pytest.raises(ClaimError, match="first line"):
        check_page_claim(parse_page(PAGE.replace("# shows", "# says")), "GRD101")
    with pytest.raises(ClaimError, match="no python block"):
        check_page_claim(parse_page(PAGE[: PAGE.rindex("```python")] + "None.\n"), "GRD101")


@pytest.mark.torch
def test_runtime_checks_know_exceptions_and_warnings() -> None:
    call = "y = f(torch.ones(1, requires_grad=True))"
    raises = PAGE.replace("# shows: not y.requires_grad", '# raises: RuntimeError "does not require grad"')
    assert check_page_claim(parse_page(raises.replace(call, f"{call}\ny.backward()")), "GRD101") == []
    warns = PAGE.replace("# shows: not y.requires_grad", '# warns: UserWarning "off"')
    warning = f'import warnings\n{call}\nif not y.requires_grad:\n    warnings.warn("gradients off")'
    assert check_page_claim(parse_page(warns.replace(call, warning)), "GRD101") == []
    assert len(check_page_claim(parse_page(warns), "GRD101")) == 1
