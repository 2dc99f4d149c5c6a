"""The outline of a module: what may be left out before it is parsed, and what has to stay."""

from __future__ import annotations

import ast
import re
import sysconfig
from pathlib import Path

import pytest

from gradlint.finding import Finding
from gradlint.lower.python.outline import outline, outlined
from gradlint.testing.fixtures import lint
from gradlint.torch_model.words import Places, mentions_torch

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures").glob("GRD*/*.py"))
EXPECTED = re.compile(r"# (?:todo-)?expect:", re.MULTILINE)
IDLE = """
def idle_{n}(x):
    \"\"\"Not a word
def in_a_string(:
    about it.\"\"\"
    rows = [
        x,
]
    return rows
"""
RELEVANT = """
def relevant(x):
    with no_grad():
        return {result}
"""


def of(text: str) -> str:
    return outline(text, Places(text))


def named(text: str) -> set[str]:
    """The functions and classes that the outline of ``text`` keeps."""
    kept = of(text)
    assert kept.count("\n") == text.count("\n")
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(kept)) if isinstance(node, definitions)}


@pytest.mark.parametrize("path", [path for path in FIXTURES if EXPECTED.search(path.read_text())], ids=lambda p: p.name)
def test_a_file_with_a_finding_is_looked_at(path: Path) -> None:
    assert mentions_torch(path.read_bytes()) and Places(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [path for path in FIXTURES if "GRD0" not in path.parent.name], ids=lambda p: p.name)
def test_the_outline_loses_no_finding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text()
    short = facts_of(lint(text, path.as_posix()))
    monkeypatch.setattr("gradlint.lower.python.outline.outlined", lambda tree, outline: tree)
    assert short == facts_of(lint(text, path.as_posix()))


def facts_of(found: list[Finding]) -> list[tuple[str, int, int]]:
    return sorted((finding.code, finding.location.line, finding.location.column) for finding in found)


@pytest.mark.parametrize("path", sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::5], ids=lambda p: p.name)
def test_real_code_stays_python(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    kept = of("\n" + text)
    assert kept.count("\n") == text.count("\n") + 1
    ast.parse(kept)


def test_what_says_nothing_and_is_not_named_is_left_out() -> None:
    text = """
@decorated
def idle(x):
    return x

def relevant(x):
    with no_grad():
        return helper(x)

def helper(x):
    return deeper(x)

async def deeper(x):
    return x

def __getattr__(name):
    return name
"""
    assert named(text) == {"relevant", "helper", "deeper"}


def test_methods_are_left_out_one_by_one() -> None:
    text = """
class Model(Base):
    size = 1

    def __init__(self):
        self.part = Part()

    @property
    def idle(self):
        return 1

    def relevant(self, x):
        with no_grad():
            return self.helper(x)

    def helper(self, x):
        return x


class Part:
    def __init__(self):
        self.whole = 1

    def idle(self):
        return 2


class Idle:
    def __init__(self):
        pass
"""
    assert named(text) == {"Model", "__init__", "relevant", "helper", "Part", "Idle"}
    assert ast.unparse(ast.parse(of(text))).count("def __init__") == 2


def test_an_attribute_is_not_a_function_of_that_name() -> None:
    assert named("\ndef run(x):\n    return x\n" + RELEVANT.format(result="x.run()")) == {"relevant"}


def test_callers_of_what_goes_backward_stay() -> None:
    text = """
def main(data):
    for batch in data:
        train_step(batch)

def train_step(batch):
    return finish(batch)

def finish(batch):
    batch.backward()

def idle():
    return 1
"""
    assert named(text) == {"main", "train_step", "finish"}


def test_what_the_module_itself_names_where_it_says_something_stays() -> None:
    functions = "\ndef used():\n    return 1\n\ndef idle():\n    return 2\n"
    assert named(f"\nfrom torch import no_grad\n{functions}\nwith no_grad():\n    used()\n") == {"used"}


def test_long_tables_are_left_out_unless_named() -> None:
    rows = "".join(f'    "row{number}": entry(),\n' for number in range(20))
    kept = of(f"\nidle = table({{\n{rows}}})\n\nused = {{\n{rows}}}\n{RELEVANT.format(result='used[x]')}")
    assert "idle" not in kept
    assert "used = {" in kept
    ast.parse(kept)


def test_definitions_in_strings_hide_no_code() -> None:
    text = "".join(IDLE.format(n=number) for number in range(3))
    assert "relevant" in named(text + RELEVANT.format(result="x"))


def test_narrow_indentation_is_left_alone() -> None:
    text = "\nclass Model:\n  def idle(self):\n    def inner():\n      return 1\n    return inner()\n"
    assert of(text) == text


def test_what_the_outline_leaves_out_is_no_part_of_the_tree() -> None:
    rows = "".join(f'    "row{number}",\n' for number in range(20))
    text = f"\nclass Model:\n    def idle(self):\n        pass\n\nidle = [\n{rows}]\n{IDLE.format(n=0)}{RELEVANT}"
    whole = ast.parse(text)
    before = ast.dump(whole, include_attributes=True)
    tree = outlined(whole, of(text))
    assert [node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))] == [
        "Model",
        "idle_0",
        "relevant",
    ]
    assert not any(isinstance(node, ast.Assign) for node in tree.body)
    assert ast.dump(whole, include_attributes=True) == before


def test_an_outline_that_is_no_python_does_no_harm() -> None:
    text = f"\ndef idle(\nx):\n    return x\n{RELEVANT.format(result='x')}"
    with pytest.raises(SyntaxError):
        ast.parse(of(text))
    assert [node.name for node in outlined(ast.parse(text), of(text)).body if hasattr(node, "name")] == ["relevant"]


@pytest.mark.parametrize(
    "caller",
    [
        "def fit(model, data):\n    run(model, data, True)\n",
        "def fit(model, data):\n    run_all(model, data)\n\ndef run_all(*given):\n    return run(*given)\n",
    ],
    ids=["direct", "in two steps"],
)
def test_a_caller_that_says_nothing_still_counts_as_one(caller: str) -> None:
    text = """
import torch

def run(model, data, training=False):
    for x, y in data:
        loss = (model(x) - y).pow(2).mean()
        if loss.numel():
            loss.backward()

def validate(model, data):
    with torch.no_grad():
        run(model, data)

"""
    assert "GRD101" in {finding.code for finding in lint(text, "alone.py")}
    assert "GRD101" not in {finding.code for finding in lint(text + caller, "called.py")}
