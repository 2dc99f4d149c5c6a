"""Testing rules.

A rule has two kinds of evidence, and both are executed. Its *fixtures* are files of real-looking code whose
comments say what must be found (`gradlint.testing.expectations`, `gradlint.testing.fixtures`). Its *page*, the
docstring of its module, holds examples that are linted (`gradlint.testing.pages`). What both claim about torch
is read by `gradlint.testing.torch_claims` and run by `gradlint.runtime.truth`; nothing in here needs torch.
What is seen across files is tested on small projects (`gradlint.testing.projects`).
"""

from __future__ import annotations

from gradlint.testing.expectations import Expectation, ExpectationError, compare, parse_expectations
from gradlint.testing.fixtures import check_fixture, snapshot
from gradlint.testing.pages import Block, Page, PageError, check_page, parse_page
from gradlint.testing.projects import check_project, project_claims, project_snapshot
from gradlint.testing.torch_claims import Claim, ClaimError, page_claim, parse_claims

__all__ = [
    "Block",
    "Claim",
    "ClaimError",
    "Expectation",
    "ExpectationError",
    "Page",
    "PageError",
    "check_fixture",
    "check_page",
    "check_project",
    "compare",
    "page_claim",
    "parse_claims",
    "parse_expectations",
    "parse_page",
    "project_claims",
    "project_snapshot",
    "snapshot",
]
