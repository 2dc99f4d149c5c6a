"""The page of every rule is executed: its examples are linted, its runtime check is run on torch."""

from __future__ import annotations

import pytest

from gradlint.registry import all_rules, page
from gradlint.rule import Rule
from gradlint.testing import check_page, parse_page

# No code is known to make gradlint fail, so the page of GRD002 has no example of it.
SHOWN = [rule for rule in all_rules() if rule.code != "GRD002"]
ABOUT_TORCH = [rule for rule in all_rules() if not rule.code.startswith("GRD0")]


def code(rule: Rule) -> str:
    return rule.code


@pytest.mark.parametrize("rule", SHOWN, ids=code)
def test_examples_are_linted_as_the_page_says(rule: Rule) -> None:
    assert "\n".join(check_page(parse_page(page(rule)), rule.code)) == ""


@pytest.mark.torch
@pytest.mark.parametrize("rule", ABOUT_TORCH, ids=code)
def test_torch_does_what_the_page_says(rule: Rule, device: str) -> None:
    from gradlint.runtime.truth import contrast

    assert "\n".join(contrast(parse_page(page(rule)), rule.code, device).problems()) == ""
