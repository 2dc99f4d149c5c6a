"""The law of inheritance: a class says the same when a part of its methods moves to a base class that it gets.

Every class of every fixture is split automatically: its first methods become a base class, the others stay. Left out
are classes that would mean something else then: where a method that moves has another one of its name above it, and
custom functions, whose two methods belong together.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gradlint.testing.fixtures import lint

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SCENARIOS = sorted(FIXTURES.glob("GRD[1-9]*/*.py"))
FEWEST_SPLIT = 250
"""So many classes have something to move."""
Method = ast.FunctionDef | ast.AsyncFunctionDef


def constructor(methods: list[Method]) -> int:
    """Return how many methods move: the constructor alone."""
    return 1 if methods[0].name == "__init__" else 0


def half(methods: list[Method]) -> int:
    """Return how many methods move: the first half."""
    return len(methods) // 2


WAYS = (constructor, half)


class Cut(NamedTuple):
    """A class, the line of its head and the line before which it is cut in two, from 0."""

    name: str
    head: int
    line: int


def with_bases(text: str, moved: Callable[[list[Method]], int]) -> str:
    """Return ``text`` with a base class for every class that can be split; the text itself if there is none."""
    lines = text.split("\n")
    cuts = list(found(ast.parse(text), lines, moved))
    for cut in reversed(cuts):
        lines[cut.head] = lines[cut.head].replace(f"class {cut.name}", f"class {cut.name}Base", 1)
        lines.insert(cut.line, f"class {cut.name}({cut.name}Base):")
    return "\n".join(lines)


def found(tree: ast.Module, lines: list[str], moved: Callable[[list[Method]], int]) -> Iterator[Cut]:
    for cls in tree.body:
        if (
            not isinstance(cls, ast.ClassDef)
            or cls.decorator_list
            or "Function" in " ".join(map(ast.unparse, cls.bases))
        ):
            continue
        methods = [node for node in cls.body if isinstance(node, Method)]
        count = moved(methods) if methods else 0
        if not 0 < count < len(methods) or len({method.name for method in methods}) < len(methods):
            continue
        if any(map(asks_for_super, methods)) or any(method.name == "__init__" for method in methods[count:]):
            continue
        first = methods[count]
        line = min(node.lineno for node in (first, *first.decorator_list)) - 1
        while lines[line - 1].strip().startswith("#"):
            line -= 1
        yield Cut(cls.name, cls.lineno - 1, line)


def is_function(cls: ast.ClassDef) -> bool:
    return any("Function" in ast.unparse(base) for base in cls.bases)


def asks_for_super(method: Method) -> bool:
    """Whether a method but the constructor calls what the bases have in its place."""
    names = (node.id for node in ast.walk(method) if isinstance(node, ast.Name))
    return method.name != "__init__" and "super" in names


def said(text: str, path: Path) -> Counter[tuple[str, str]]:
    """Return the codes that are reported, each with the line that it stands on."""
    lines = text.split("\n")
    findings = lint(text, path.as_posix(), path.parent.name)
    return Counter((finding.code, lines[finding.location.line - 1].strip()) for finding in findings)


@pytest.mark.parametrize("moved", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_base_class_changes_no_finding(path: Path, moved: Callable[[list[Method]], int]) -> None:
    text = path.read_text(encoding="utf-8")
    split = with_bases(text, moved)
    if split != text:
        compile(split, path.name, "exec")
        assert said(split, path) == said(text, path)


@pytest.mark.parametrize("moved", WAYS, ids=lambda way: way.__name__)
def test_many_classes_are_split(moved: Callable[[list[Method]], int]) -> None:
    texts = [path.read_text(encoding="utf-8") for path in SCENARIOS]
    assert sum(len([*found(ast.parse(text), text.split("\n"), moved)]) for text in texts) >= FEWEST_SPLIT


def test_a_class_is_cut_in_two() -> None:
    first, second = (
        "    def __init__(self):\n        self.x = 1\n\n",
        "    # said before\n    def f(self):\n        return self.x\n",
    )
    expected = f"class ABase:\n{first}class A(ABase):\n{second}"
    text = f"class A:\n{first}{second}"
    assert with_bases(text, half) == with_bases(text, constructor) == expected
