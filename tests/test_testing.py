"""The test kit itself: what it reads, what it accepts, and what it must notice."""

from __future__ import annotations

import re

import pytest
from wellformed import PAGE

from gradlint.finding import Certainty, Finding, Location, Severity
from gradlint.testing import (
    Claim,
    ClaimError,
    Expectation,
    ExpectationError,
    PageError,
    check_page,
    compare,
    page_claim,
    parse_claims,
    parse_expectations,
    parse_page,
    snapshot,
)
from gradlint.testing.torch_claims import parse_claim


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


# -- pages -------------------------------------------------------------------------------------------------


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
    assert check_page(page, "GRD101", lambda text, *_: [at["with"]] if "with" in text else []) == []
    assert check_page(page, "GRD101", lambda *_: []) == ["line 13: GRD101 is not reported"]
    everywhere = check_page(page, "GRD101", lambda *_: [found(1), found(1, "GRD102")])
    assert everywhere == [
        'line 10: unexpected GRD101 "no graph"',
        "line 13: GRD101 is not reported",
        'line 19: unexpected GRD101 "no graph"',
    ]
    silent = parse_page(PAGE.replace("  # error", ""))
    assert "no line that ends in" in check_page(silent, "GRD101", lambda *_: [])[0]


def test_runtime_checks_are_read() -> None:
    claim, check = page_claim(parse_page(PAGE))
    assert claim == Claim("shows", "not y.requires_grad")
    assert check.startswith("# shows: not y.requires_grad\ny = f(")
    with pytest.raises(ClaimError, match="first line"):
        page_claim(parse_page(PAGE.replace("# shows", "# says")))
    with pytest.raises(ClaimError, match="no python block"):
        page_claim(parse_page(PAGE[: PAGE.rindex("```python")] + "None.\n"))
