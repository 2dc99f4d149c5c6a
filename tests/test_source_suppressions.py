"""Suppression comments: where they reach, and what is said about those that do nothing."""

from __future__ import annotations

import pytest

from gradlint import Config, check_source
from gradlint.source.suppressions import marked, scan

HEAD = "import torch\n"


def reported(body: str, **options: object) -> list[str]:
    """Return ``line:code`` of the findings in ``body``, whose first line is line 2."""
    findings = check_source(HEAD + body, config=Config(**options))  # type: ignore[arg-type]
    return [f"{finding.location.line}:{finding.code}" for finding in findings]


REACH = {
    "nothing": ("with torch.no_grad:\n    pass\n", ["2:GRD104"]),
    "end of line": ("with torch.no_grad:  # gradlint: ignore[GRD104] -- why\n    pass\n", []),
    "by name": ("with torch.no_grad:  # gradlint: ignore[grad-mode-misused]\n    pass\n", []),
    "several": ("with torch.no_grad:  # gradlint: ignore[GRD104, GRD104]\n    pass\n", []),
    "lower case": ("with torch.no_grad:  # gradlint: ignore[grd104]\n    pass\n", []),
    "behind another comment": ("with torch.no_grad:  # type: x # gradlint: ignore[GRD104]\n    pass\n", []),
    "line above": ("# gradlint: ignore[GRD104] -- why\nwith torch.no_grad:\n    pass\n", []),
    "comments above": ("# gradlint: ignore[GRD104]\n# words\nwith torch.no_grad:\n    pass\n", []),
    "not over an empty line": (
        "# gradlint: ignore[GRD104]\n\nwith torch.no_grad:\n    pass\n",
        ["2:GRD001", "4:GRD104"],
    ),
    "not from below": ("with torch.no_grad:\n    pass  # gradlint: ignore[GRD104]\n", ["2:GRD104", "3:GRD001"]),
    "end of a statement": ("with torch.no_grad, open(\n    'x'\n):  # gradlint: ignore[GRD104]\n    pass\n", []),
    "above a statement": ("# gradlint: ignore[GRD104]\nwith open(\n    'x'\n), torch.no_grad:\n    pass\n", []),
    "inside a statement": (
        "with open('x'), (\n    # gradlint: ignore[GRD104]\n    torch.no_grad\n):\n    pass\n",
        [],
    ),
    "on another line of it": (
        "with torch.no_grad, open(\n    'x'  # gradlint: ignore[GRD104]\n):\n    pass\n",
        ["2:GRD104", "3:GRD001"],
    ),
    "whole file": ("with torch.no_grad:\n    pass\n# gradlint: ignore-file[GRD104] -- why\n", []),
    "in a string": ("with torch.no_grad:\n    '# gradlint: ignore-file[GRD104]'\n", ["2:GRD104"]),
    "noqa": ("with torch.no_grad:  # noqa\n    pass\n", []),
    "noqa with code": ("with torch.no_grad:  # NOQA:E501,GRD104 words\n    pass\n", []),
    "foreign noqa": ("with torch.no_grad:  # noqa: E501\n    pass\n", ["2:GRD104"]),
    "noqa of a file of another tool": ("# flake8: noqa\nwith torch.no_grad:\n    pass\n", ["3:GRD104"]),
    "noqa above": ("# noqa: GRD104\nwith torch.no_grad:\n    pass\n", ["2:GRD001", "3:GRD104"]),
    "noqa at the end of a string": ("with torch.no_grad, open('''\n'''):  # noqa: GRD104\n    pass\n", []),
}


@pytest.mark.parametrize("name", REACH)
def test_reach(name: str) -> None:
    body, expected = REACH[name]
    assert reported(body) == expected


UNUSED = {
    "unused": ("x = torch.no_grad  # gradlint: ignore[GRD104]\n", ["2:GRD001"]),
    "unused in a file": ("# gradlint: ignore-file[GRD104]\n", ["2:GRD001"]),
    "unused noqa": ("x = 1  # noqa: GRD104\n", ["2:GRD001"]),
    "unused foreign noqa": ("x = 1  # noqa: E501\ny = 1  # noqa\n", []),
    "silences itself": ("x = 1  # gradlint: ignore[GRD104, GRD001]\n", []),
    "unknown": ("x = 1  # gradlint: ignore[GRD999]\n", ["2:GRD003"]),
    "unknown in noqa": ("x = 1  # noqa: GRD999\n", ["2:GRD003"]),
    "unknown beside known": ("with torch.no_grad:  # gradlint: ignore[GRD999, GRD104]\n    pass\n", ["2:GRD003"]),
    "names no rule": ("with torch.no_grad:  # gradlint: ignore\n    pass\n", ["2:GRD104", "2:GRD003"]),
    "empty": ("x = 1  # gradlint: ignore[]\n", ["2:GRD003"]),
    "misspelled": ("x = 1  # gradlint: disable=GRD104\n", ["2:GRD003"]),
    "reason without dashes": ("x = 1  # gradlint: ignore[GRD104] because\n", ["2:GRD003"]),
    "cannot be silenced": ("x = 1  # gradlint: ignore[GRD000]\n", ["2:GRD003"]),
    "talk about it": ("x = 1  # as in gradlint: ignore what you can\n", []),
}


@pytest.mark.parametrize("name", UNUSED)
def test_comments_that_do_nothing(name: str) -> None:
    body, expected = UNUSED[name]
    assert reported(body) == expected


def test_what_is_said_about_them() -> None:
    [unused] = check_source(HEAD + "with torch.no_grad:  # gradlint: ignore[GRD104, GRD101]\n    pass\n")
    assert (unused.message, unused.help) == ("nothing to suppress here for GRD101", "remove GRD101 from the comment")
    [unknown] = check_source("x = 1  # gradlint: ignore[backward-without-grap]\n")
    assert unknown.message == "unknown rule `backward-without-grap`; did you mean `backward-without-graph`?"


def test_only_rules_that_ran_can_be_unused() -> None:
    body = "x = 1  # gradlint: ignore[GRD104]\n"
    assert reported(body, ignore=("GRD104",)) == []
    assert reported(body, select=("GRD101",)) == []
    assert reported(body, select=("GRD101", "GRD001")) == []
    assert reported(body, select=("GRD104", "GRD001")) == ["2:GRD001"]


def test_a_required_reason() -> None:
    comments = ("gradlint: ignore[GRD104]", "noqa: GRD104", "gradlint: ignore[GRD104] -- a reason", "noqa")
    bodies = [f"with torch.no_grad:  # {comment}\n    pass\n" for comment in comments]
    assert [reported(body, require_reason=True) for body in bodies] == [["2:GRD003"], ["2:GRD003"], [], []]


def test_a_silenced_finding_that_is_too_uncertain_to_show_counts_as_silenced() -> None:
    from gradlint.finding import Certainty

    text = HEAD + "with torch.no_grad:  # gradlint: ignore[GRD104]\n    pass\n"
    assert check_source(text, config=Config(min_certainty=Certainty.CERTAIN)) == []


def test_text_that_cannot_be_tokenized_yields_what_came_before() -> None:
    assert len(scan("x = 1  # noqa\ny = (\n")) == 1
    assert not marked(b"x = 1  # nothing") and marked(b"# NoQA") and marked(b"#gradlint:")


def test_locations() -> None:
    [comment] = scan("é = 1  # words # gradlint: ignore[GRD104] -- why  \n")
    assert (comment.location.column, comment.location.end_column, comment.reason) == (16, 49, "why")
