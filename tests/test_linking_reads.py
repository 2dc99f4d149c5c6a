"""What a file looked at of what it was told: news of the rest are no reason to look at it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from interfaces import at, cls, file, function
from linked import told_and_read

from gradlint.linking.completing import completed, retold
from gradlint.linking.interface import (
    Caller,
    Effect,
    Function,
    Given,
    Made,
    Named,
    Parameter,
    View,
)
from gradlint.linking.link import Link
from gradlint.linking.reads import Reads, is_news
from gradlint.testing.projects import lint_project

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "linking"
PROJECTS = sorted(path for path in FIXTURES.iterdir() if path.is_dir())
HERE = at(1)
MAIN = """\
import torch
from lib import f, g, Net

def train(model):
    loss = f(model)
    loss.backward()
    return g

def build():
    net = Net()
    with torch.no_grad():
        return net
"""
F = Function("f", HERE, (Parameter("model", "plain"),), solved=True, returns=((Made("tensor", 1),),))
G = function("g")
STEPS = Effect("step", HERE, 1, (Given("model"),), 1)
NET = cls("Net", "torch.nn.Module", methods="forward")
FORWARD = Function("Net.forward", HERE, (Parameter("self", "plain"),), solved=True)
BEFORE = View(
    aliases={"lib.f": "lib.py:f", "lib.g": "lib.py:g", "lib.Net": "lib.py:Net"},
    functions={"lib.py:f": F, "lib.py:g": G, "lib.py:Net.forward": FORWARD},
    classes={"lib.py:Net": NET},
    callers={"train": (Caller(1, ()),)},
)


@pytest.fixture(scope="module")
def reads() -> Reads:
    looked_at: Reads = told_and_read(MAIN, "main.py", BEFORE)[2]
    return looked_at


def with_functions(**functions: Function) -> View:
    return View(
        BEFORE.aliases,
        BEFORE.functions | {f"lib.py:{name}": one for name, one in functions.items()},
        BEFORE.classes,
        BEFORE.callers,
    )


def test_what_is_called_is_looked_at_in_full(reads: Reads) -> None:
    assert is_news(BEFORE, with_functions(f=Function("f", HERE, F.parameters, solved=True, effects=(STEPS,))), reads)


def test_what_is_only_named_is_known_by_its_head(reads: Reads) -> None:
    assert not is_news(BEFORE, with_functions(g=function("g", effects=(STEPS,))), reads)
    assert is_news(BEFORE, with_functions(g=function("g", is_generator=True)), reads)


def test_nothing_is_known_of_what_no_code_names(reads: Reads) -> None:
    assert not is_news(BEFORE, with_functions(h=F), reads)


def test_what_was_not_there_was_looked_for(reads: Reads) -> None:
    without = View(BEFORE.aliases, BEFORE.functions, {}, BEFORE.callers)
    looked = told_and_read(MAIN, "main.py", without)[2]
    assert is_news(without, BEFORE, looked)
    assert is_news(BEFORE, without, reads)


def test_the_functions_of_the_file_itself(reads: Reads) -> None:
    same = (BEFORE.aliases, BEFORE.functions, BEFORE.classes)
    assert is_news(BEFORE, View(*same), reads)
    assert is_news(BEFORE, View(*same, BEFORE.callers, {}, frozenset({"train"})), reads)
    assert not is_news(BEFORE, View(*same, BEFORE.callers | {"elsewhere": (Caller(1, ()),)}), reads)


@pytest.mark.parametrize("root", PROJECTS, ids=lambda path: path.name)
def test_looking_again_at_everything_finds_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not looked at again because nothing is new to it would have said the same."""
    found = lint_project(root).findings
    tell = Link.tell
    monkeypatch.setattr(Link, "tell", lambda link, interface, reads=None: tell(link, interface))
    assert lint_project(root).findings == found


@pytest.mark.parametrize("root", PROJECTS, ids=lambda path: path.name)
def test_names_that_are_kept_answer_like_names_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Link.views
    told: list[dict[str, View]] = []

    def recorded(link: Link) -> dict[str, View]:
        told.append(views(link))
        return told[-1]

    monkeypatch.setattr(Link, "views", recorded)
    lint_project(root)
    kept = told.copy()
    told.clear()
    monkeypatch.setattr("gradlint.linking.link.outline", lambda interface: object())
    lint_project(root)
    assert told == kept


def test_imports_are_told_in_the_words_of_the_file() -> None:
    before = file("main.py", imports={"Net": "lib.Net", "f": "main.py:f"}, classes=[cls("Own", "lib.Net")])
    told = file("main.py", imports={"Net": "lib.py:Net", "f": "lib.py:f"}, classes=[cls("Own", "lib.py:Net")])
    found = retold(told, before)
    assert found.names == {"Net": (Named("lib.Net"),), "f": (Named("lib.py:f"),)}
    assert found.classes["Own"].bases == ((Named("lib.Net"),),)


def test_what_was_asked_about_once_is_wanted_still() -> None:
    before = file("main.py", wants="lib.Net")
    assert completed(file("main.py", wants="lib.f"), before).wants == {"lib.f", "lib.Net"}


def test_a_file_is_not_told_what_it_does_not_look_at() -> None:
    link = Link()
    link.tell(file("lib.py", function("f", effects=(STEPS,))))
    link.tell(file("main.py", wants="lib.f"), frozenset({("aliases", "lib.g")}))
    assert link.views() == {}
    link.tell(file("main.py", wants="lib.f"), frozenset({("aliases", "lib.f")}))
    assert link.views() == {}
