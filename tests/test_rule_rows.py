"""Every row of the facts that a rule names has a fixture with its mistake, and one with what is legal beside it.

`data/facts.toml` says which rows these are. A case of a fixture cites rows at the end of its ``def`` line:
``def step_bad(model, x):  # facts: GM01, GM07``. A case may be a known missed alarm (``# todo-expect:``).
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gradlint.registry import all_rules
from gradlint.testing.expectations import comments
from gradlint.testing.fixtures import Function, first_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TESTS = Path(__file__).resolve().parent
FIXTURES = TESTS.parent / "fixtures"
FACTS: dict[str, Any] = tomllib.loads((TESTS / "data" / "facts.toml").read_text(encoding="utf-8"))
ROWS: dict[str, str] = FACTS["rows"]
NAMED: dict[str, dict[str, Any]] = FACTS["rules"]
CODES = [rule.code for rule in all_rules() if not rule.code.startswith("GRD0")]

WITHOUT_ROWS = {"GRD225": "that nothing is left to train needs no trial", "GRD614": "hooks are no fact about gradients"}
"""Rules that no row is about, and why."""

_CITED = re.compile(r"#\s*facts:\s*(?P<rows>[^#]*)")
_ROW = re.compile(r"[A-Z]{2}[0-9]{2}[a-z]?")


def wanted(code: str) -> set[str]:
    """What the fixtures of a rule must cite: ``bad GM01``, ``ok GM01``; of what it leaves alone the latter."""
    named = NAMED.get(code, {})
    found = named.get("found", [])
    return {f"bad {row}" for row in found} | {f"ok {row}" for row in (*found, *named.get("silent", []))}


def header(function: Function) -> range:
    """The lines of a definition before its body, decorators included."""
    return range(first_line(function), max(function.body[0].lineno, function.lineno + 1))


@cache
def cited(code: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """What the fixtures of a rule cite, and the citations that cannot be read."""
    found, wrong = set[str](), list[str]()
    for path in sorted((FIXTURES / code).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]
        sides = {line: node.name.rpartition("_")[2] for node in nodes for line in header(node)}
        for line, _, comment in comments(text):
            match = _CITED.search(comment)
            if match is None:
                continue
            rows = [row.strip() for row in match["rows"].split(",")]
            side = sides.get(line, "")
            if side not in ("bad", "ok"):
                wrong.append(f"{code}/{path.name}:{line}: rows are cited at the end of the `def` line of a case")
            wrong += [f"{code}/{path.name}:{line}: there is no row {row!r}" for row in rows if row not in ROWS]
            found.update(f"{side} {row}" for row in rows)
    return frozenset(found), tuple(wrong)


def words(code: str, lacking: str) -> str:
    """Say what a rule lacks."""
    side, _, row = lacking.partition(" ")
    return f"{code}: no `..._{side}` of its fixtures cites {row}: {ROWS[row]}"


def test_rows_are_named_in_one_way() -> None:
    named = {row for rule in NAMED.values() for row in (*rule["found"], *rule.get("silent", []))}
    assert sorted(named - set(ROWS)) == []
    assert sorted(set(ROWS) - named) == []
    assert [row for row in ROWS if not _ROW.fullmatch(row)] == []


def test_every_rule_names_its_rows() -> None:
    assert [code for code in CODES if code not in NAMED and code not in WITHOUT_ROWS] == []
    assert [code for code in WITHOUT_ROWS if code in NAMED] == []


@pytest.mark.parametrize("code", CODES)
def test_citations_can_be_read(code: str) -> None:
    assert "\n".join(cited(code)[1]) == ""


@pytest.mark.parametrize("code", CODES)
def test_every_row_of_a_rule_has_its_fixtures(code: str) -> None:
    excepted = set(NAMED.get(code, {}).get("without", ()))
    missing = sorted(wanted(code) - cited(code)[0] - excepted)
    stale = sorted(excepted - (wanted(code) - cited(code)[0]))
    lines = [words(code, each) for each in missing]
    lines += [f"{code}: {each!r} has a fixture, or no row: take it out of `without`" for each in stale]
    assert "\n".join(lines) == ""
