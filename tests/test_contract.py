"""What holds for every rule: its names, its words, its evidence and its size."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from gradlint.finding import Certainty
from gradlint.registry import all_rules, page
from gradlint.rule import Rule
from gradlint.testing import parse_claims, parse_expectations, parse_page
from gradlint.testing.fixtures import functions

ROOT = Path(__file__).resolve().parent.parent
RULES = [rule for rule in all_rules() if not rule.code.startswith("GRD0")]
OURS = {"gradlint.rule", "gradlint.facts", "gradlint.finding", "gradlint.fix"}
MAY_IMPORT = OURS | {"typing", "collections.abc", "__future__"}
LONGEST_CHECK = 30


def code(rule: Rule) -> str:
    return rule.code


def source(rule: Rule) -> Path:
    path = inspect.getsourcefile(type(rule))
    assert path is not None
    return Path(path)


def check_method(rule: Rule) -> ast.FunctionDef:
    tree = ast.parse(source(rule).read_text(encoding="utf-8"))
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "check")
    return found


def scenarios(rule: Rule) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((ROOT / "fixtures" / rule.code).glob("*.py"))]


def test_codes_and_names_are_unique() -> None:
    for values in ([rule.code for rule in all_rules()], [rule.name for rule in all_rules()]):
        assert sorted(values) == sorted(set(values))


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_the_file_is_called_like_the_rule(rule: Rule) -> None:
    assert re.fullmatch(r"GRD[1-9][0-9]{2}", rule.code)
    assert source(rule).stem == f"{rule.code.lower()}_{rule.name.replace('-', '_')}"
    assert source(rule).parent.name == "rules"


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_the_class_is_called_like_the_rule(rule: Rule) -> None:
    assert type(rule).__name__.lower() == rule.name.replace("-", "")


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_the_page_has_its_headings_in_order(rule: Rule) -> None:
    summary = parse_page(page(rule)).summary
    assert summary.endswith(".") and "\n\n" not in summary


@pytest.mark.parametrize("rule", RULES, ids=code)
@pytest.mark.parametrize("field", ["message", "help"])
def test_words_follow_the_convention(rule: Rule, field: str) -> None:
    words: str = getattr(rule, field)
    assert words == words.strip() and "\n" not in words
    assert not words.endswith((".", "!")), "no full stop at the end"
    assert words[0] in "`{" or words[0].islower() or not words.split()[0].isalpha(), "start with a small letter"
    assert words.count("`") % 2 == 0, "unbalanced backticks"


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_a_rule_that_is_hidden_by_default_says_why(rule: Rule) -> None:
    if rule.certainty is Certainty.POSSIBLE:
        assert "hidden by default" in parse_page(page(rule)).sections["Known limits"], "the page says why it is hidden"


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_check_is_short(rule: Rule) -> None:
    check = check_method(rule)
    assert check.end_lineno is not None
    assert check.end_lineno - check.lineno + 1 <= LONGEST_CHECK


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_a_rule_imports_only_the_contract(rule: Rule) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source(rule).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    facts = {module for module in imported if module.startswith("gradlint.facts.")}
    assert sorted(imported - MAY_IMPORT - facts) == []


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_a_rule_keeps_no_state(rule: Rule) -> None:
    assert vars(rule) == {}
    assert not any(isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(check_method(rule)))


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_there_is_evidence_for_and_against(rule: Rule) -> None:
    names = {function.name for text in scenarios(rule) for function in functions(text)}
    assert len([name for name in names if name.endswith("_bad")]) >= 2
    assert len([name for name in names if name.endswith("_ok")]) >= 2
    wanted = [each for text in scenarios(rule) for each in parse_expectations(text)]
    assert any(each.code == rule.code and each.kind == "expect" for each in wanted)


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_most_evidence_is_executed(rule: Rule) -> None:
    claims = [claim for text in scenarios(rule) for claim in parse_claims(text).values()]
    idle = [claim for claim in claims if claim.kind == "not run"]
    assert 2 * len(idle) <= len(claims)


@pytest.mark.parametrize("rule", all_rules(), ids=code)
def test_the_changelog_names_it(rule: Rule) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"{rule.code} `{rule.name}`" in text
