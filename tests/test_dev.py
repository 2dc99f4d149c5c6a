"""The developer's bench: scaffolding, printing the analysis, generated pages."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradlint.dev import docs, scaffold
from gradlint.dev.__main__ import main
from gradlint.dev.checkout import checkout
from gradlint.dev.dump import dump
from gradlint.registry import all_rules
from gradlint.testing import parse_claims, parse_expectations, parse_page

ROOT = Path(__file__).resolve().parent.parent

SOURCE = """import torch

def outer(model, x):
    with torch.no_grad():
        loss = model(x).sum()
    def inner():
        return x
    loss.backward()

def other():
    return 1
"""
PROBES = """import torch

def f():
    with torch.inference_mode():
        reveal_grad_mode()
    reveal_grad_mode()

def g(flag):
    torch.set_grad_enabled(flag)
    reveal_grad_mode()
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project with a changelog."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n### Added\n\n- GRD101 `x`\n", encoding="utf-8")
    return tmp_path


def test_the_bench_knows_its_checkout() -> None:
    assert checkout() == ROOT


# -- new-rule ----------------------------------------------------------------------------------------------


def test_a_new_rule_has_all_its_parts(project: Path) -> None:
    rule, fixture, changelog = scaffold.new_rule(project, "GRD199", "some-new-thing")
    assert rule.relative_to(project).as_posix() == "rules/grd199_some_new_thing.py"
    assert fixture.relative_to(project).as_posix() == "fixtures/GRD199/basic.py"
    assert "### Added\n\n- GRD199 `some-new-thing`\n- GRD101 `x`\n" in changelog.read_text(encoding="utf-8")
    tree = ast.parse(rule.read_text(encoding="utf-8"))
    page = parse_page(inspect.cleandoc(ast.get_docstring(tree) or ""))
    assert page.python("Examples")[0].error_lines == [6]
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == ["SomeNewThing"]
    text = fixture.read_text(encoding="utf-8")
    assert {each.code for each in parse_expectations(text)} == {"GRD199"}
    assert sorted(parse_claims(text)) == ["first_bad", "first_ok"]


@pytest.mark.parametrize(
    ("code", "slug", "words"),
    [
        ("GRD99", "thing", "no code"),
        ("GRD099", "thing", "no code"),
        ("ABC199", "thing", "no code"),
        ("GRD199", "Some_Thing", "no name"),
        ("GRD199", "-", "no name"),
        ("GRD150", "thing", "already"),
        ("GRD199", "taken-name", "already"),
    ],
)
def test_impossible_rules_are_refused(project: Path, code: str, slug: str, words: str) -> None:
    (project / "rules" / "grd150_taken_name.py").touch()
    with pytest.raises(scaffold.ScaffoldError, match=words):
        scaffold.new_rule(project, code, slug)
    assert [path.name for path in project.rglob("*.py")] == ["grd150_taken_name.py"]


def test_a_changelog_without_a_place_is_refused(project: Path) -> None:
    (project / "CHANGELOG.md").write_text("# Changelog\n", encoding="utf-8")
    with pytest.raises(scaffold.ScaffoldError, match="Added"):
        scaffold.new_rule(project, "GRD199", "thing")


def test_the_command_refuses_in_words() -> None:
    refused = run("new-rule", "GRD101", "other-name")
    assert refused.exit_code == 1
    assert "there is grd101_backward_without_graph.py already" in refused.output


# -- dump and reveal ---------------------------------------------------------------------------------------


def test_dump_shows_events_and_conclusions(source: Path) -> None:
    text = dump(source)
    assert "function outer(model, x)" in text and "function outer.inner()" in text and "function other()" in text
    assert "facts outer" in text
    assert "line 8: Backward modes=INHERITED target=loss how=backward" in text


def test_dump_of_one_body_leaves_the_others_out(source: Path) -> None:
    shown = run("dump", f"{source}:outer.inner")
    assert shown.exit_code == 0
    assert "function outer.inner()" in shown.output
    assert "function outer(" not in shown.output and "facts outer" not in shown.output


@pytest.mark.parametrize("qualname", ["nothing", "outer.nothing"])
def test_dump_of_nothing_fails(source: Path, qualname: str) -> None:
    failed = run("dump", f"{source}:{qualname}")
    assert failed.exit_code == 1
    assert f"there is no `{qualname}`" in failed.output


def test_dump_of_broken_files_fails(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n", encoding="utf-8")
    assert run("dump", str(broken)).exit_code == 1
    assert run("dump", str(tmp_path / "missing.py")).exit_code == 1


def test_reveal_prints_the_modes_in_order(tmp_path: Path) -> None:
    path = tmp_path / "probes.py"
    path.write_text(PROBES, encoding="utf-8")
    rows = json.loads(run("reveal", str(path), "--format", "json").output)
    assert rows == [
        {"line": 5, "modes": ["INFERENCE"]},
        {"line": 6, "modes": ["INHERITED"]},
        {"line": 10, "modes": ["ON", "OFF"]},
    ]
    assert run("reveal", str(path)).output.splitlines()[2] == f"{path}:10: ON, OFF"


def test_reveal_of_broken_files_fails(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n", encoding="utf-8")
    assert run("reveal", str(broken)).exit_code == 1


# -- docs --------------------------------------------------------------------------------------------------


def test_the_generated_pages_are_current() -> None:
    assert [path.relative_to(ROOT).as_posix() for path in docs.stale(ROOT)] == [], "run `make docs`"


def test_every_rule_is_in_the_index_once() -> None:
    text = docs.index(all_rules())
    assert all(text.count(f"[{rule.code}]") == 1 for rule in all_rules())


def test_pages_are_written_and_orphans_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "capture", lambda root: "captured")
    readme = tmp_path / "README.md"
    readme.write_text(
        "<!-- capture -->\n<!-- /capture -->\n<!-- rules -->\nwhat was there\n<!-- /rules -->\n", encoding="utf-8"
    )
    orphan = tmp_path / "docs" / "rules" / "GRD999.md"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    docs.write(docs.stale(tmp_path))
    assert not orphan.exists()
    assert (tmp_path / "docs" / "rules" / "GRD101.md").exists()
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("<!-- capture -->\ncaptured\n<!-- /capture -->\n<!-- rules -->\n| rule |")
    assert "what was there" not in text
    assert docs.stale(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "<!-- rules -->\n", "<!-- rules -->\n<!-- /rules -->\n" * 2])
def test_a_readme_without_its_block_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="blocks called rules"):
        docs.replace_block(text, "rules", "new")


@pytest.mark.torch
def test_arguments_reach_the_table_of_saved_tensors() -> None:
    shown = run("saved-tensors", "--help")
    assert shown.exit_code == 0
    assert "--check" in shown.output
