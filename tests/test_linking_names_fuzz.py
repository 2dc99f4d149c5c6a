"""Names over generated projects: as Python has it, in any order, and always with an end."""

from __future__ import annotations

import importlib
import itertools
import random
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interfaces import at, call, cls, file, function, project

from gradlint.linking.interface import Call, Class, Function, Interface, Named, Thing
from gradlint.linking.names import Names

FILES = ["p/__init__.py", "p/a.py", "p/b.py", "p/q/__init__.py", "p/q/a.py", "c.py"]
DOTTED = st.builds(
    lambda dots, parts: dots + ".".join(parts),
    st.sampled_from(["", ".", ".."]),
    st.lists(st.sampled_from(["p", "a", "b", "q", "c", "f", "N", "M"]), min_size=1, max_size=4),
)
IDS = st.builds("{}:{}".format, st.sampled_from(FILES), st.sampled_from(["", "f", "N", "M", "N.f", "N.M"]))
SAID = st.one_of(DOTTED, IDS)
METHODS = st.dictionaries(st.sampled_from(["f", "sweep"]), st.sampled_from(["N.f", "f", "M.f", "gone"]), max_size=2)
BASES = st.lists(st.lists(SAID.map(Named), max_size=2).map(tuple), max_size=2).map(tuple)
CLASS = st.tuples(BASES, METHODS, st.dictionaries(st.just("net"), st.lists(SAID.map(Named), max_size=2).map(tuple)))
FUNCTION = st.tuples(st.booleans(), st.lists(SAID.map(call), max_size=2).map(tuple))
FILE = st.tuples(
    st.dictionaries(st.sampled_from(["a", "q", "f", "N", "x"]), st.lists(SAID.map(Named), max_size=3).map(tuple)),
    st.lists(DOTTED, max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(["f", "N.f", "M.f"]), FUNCTION),
    st.dictionaries(st.sampled_from(["N", "M", "N.M"]), CLASS),
)
QUESTIONS = st.lists(st.tuples(st.sampled_from(FILES), SAID), min_size=1, max_size=8)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(FILES), FILE, min_size=1), QUESTIONS, st.randoms(use_true_random=False))
def test_circles_end_and_no_order_matters(
    files: dict[
        str,
        tuple[
            dict[str, tuple[Thing, ...]],
            tuple[str, ...],
            dict[str, tuple[bool, tuple[Call, ...]]],
            dict[str, tuple[tuple[tuple[Thing, ...], ...], dict[str, str], dict[str, tuple[Thing, ...]]]],
        ],
    ],
    questions: list[tuple[str, str]],
    shuffling: random.Random,
) -> None:
    interfaces = {
        path: Interface(
            path,
            names,
            stars,
            {
                name: Function(name, at(1), (), abstract=abstract, calls=calls)
                for name, (abstract, calls) in functions.items()
            },
            {name: Class(name, at(1), *fields) for name, fields in classes.items()},
        )
        for path, (names, stars, functions, classes) in files.items()
    }
    shuffled = list(interfaces.items())
    shuffling.shuffle(shuffled)
    asked = list(questions)
    shuffling.shuffle(asked)
    first = {question: answers(names, *question) for names in [Names(interfaces)] for question in questions}
    second = {question: answers(names, *question) for names in [Names(dict(shuffled))] for question in asked}
    assert first == second


def answers(names: Names, path: str, said: str) -> list[object]:
    meant = names.stands_for(path, said)
    told: list[object] = [meant, names.resolve(path, said), names.annotated(path, said)]
    told += [names.targets(path, call(callee)) for callee in (said, f"{said}.f", "?.sweep")]
    for each in meant:
        told += [names.lineage(each), names.subclasses(each), names.overrides(each), names.overrides(f"{each}.f")]
        told += [names.method(each, "f"), names.attribute(each, "net")]
        for found in names.targets(path, call(each)):
            assert names.function(found[0]) is not None
    return told


# -- as Python has it ----------------------------------------------------------------------------------------------

NUMBERS = itertools.count()
MODULES = ["m0", "m1", "m2", "__init__"]
BOUND = st.sampled_from(["f", "g", "C", "D", "m0", "m1"])
STATEMENT = st.tuples(st.sampled_from(["def", "class", "import", "from"]), BOUND, st.integers(0, 2), BOUND)
STATEMENTS = st.tuples(st.integers(0, 5), st.lists(STATEMENT, max_size=6, unique_by=lambda statement: statement[1]))


def written(
    package: str, name: str, number: int, statements: list[tuple[str, str, int, str]], kinds: dict[str, dict[str, str]]
) -> tuple[str, Interface]:
    """Return the source of a module, which imports from earlier ones, and what it tells.

    ``number`` is that of the module that it imports all of, if there is one; ``kinds`` tells of the names of all
    modules so far what they are.
    """
    earlier = MODULES[: MODULES.index(name)]
    path = f"{package}/{name}.py"
    names: dict[str, tuple[Thing, ...]] = {}
    classes = []
    kinds[name] = dict(kinds[MODULES[number]]) if number < len(earlier) else {}
    lines = [f"import {package}.{each}" for each in earlier]
    lines += [f"from .{each} import *" for each in earlier[number : number + 1]]
    for kind, bound, source, other in statements:
        origin = earlier[source] if source < len(earlier) else ""
        if kind == "def":
            lines.append(f"def {bound}(): pass")
            thing, is_a = f"{path}:{bound}", kind
        elif kind == "class":
            base = other if kinds[name].get(other) == "class" and other in names else ""
            lines += [f"class {bound}({base}):", f"    def {other}(self): pass"]
            bases = [each.name for each in names.get(base, ()) if isinstance(each, Named)]
            classes.append(cls(bound, *bases, methods=other))
            thing, is_a = f"{path}:{bound}", kind
        elif kind == "import" and origin not in ("", bound):
            lines.append(f"import {package}.{origin} as {bound}")
            thing, is_a = f"{package}.{origin}", "module"
        elif other in kinds.get(origin, {}):
            lines.append(f"from .{origin} import {other} as {bound}")
            thing, is_a = f".{origin}.{other}", kinds[origin][other]
        else:
            continue
        names[bound], kinds[name][bound] = (Named(thing),), is_a
    defined = [each.name.partition(":")[2] for (each,) in names.values() if isinstance(each, Named)]
    functions = [each for each in defined if each and kinds[name][each] == "def"]
    functions += [qualname for each in classes for qualname in each.methods.values()]
    told = file(path, *map(function, functions), classes=classes)
    stars = tuple(f".{each}" for each in earlier[number : number + 1])
    return "\n".join(lines), Interface(path, names, stars, told.functions, told.classes)


def identified(thing: object) -> str:
    """Return the id of a function, class or module of the folder that is run in."""
    if isinstance(thing, ModuleType):
        return f"{thing.__name__.replace('.', '/')}{'' if '.' in thing.__name__ else '/__init__'}.py:"
    module, qualname = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    return f"{module.replace('.', '/')}{'' if '.' in module else '/__init__'}.py:{qualname}"


@settings(max_examples=60)
@given(st.tuples(*[STATEMENTS] * len(MODULES)))
def test_names_stand_for_what_python_makes_of_them(
    modules: tuple[tuple[int, list[tuple[str, str, int, str]]], ...],
) -> None:
    package = f"package{next(NUMBERS)}"
    kinds: dict[str, dict[str, str]] = {}
    interfaces = [Interface("t.py")]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, package).mkdir()
        for name, (number, statements) in zip(MODULES, modules, strict=True):
            source, told = written(package, name, number, statements, kinds)
            Path(folder, package, f"{name}.py").write_text(source, encoding="utf-8")
            interfaces.append(told)
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(folder)
        root = importlib.import_module(package)
    names = Names(project(*interfaces))
    hiding = kinds["__init__"].keys() & MODULES
    for name in MODULES:
        module = sys.modules.pop(package if name == "__init__" else f"{package}.{name}")
        for bound, kind in kinds[name].items():
            thing = getattr(module, bound)
            dotted = f"{package}.{bound}" if module is root else f"{package}.{name}.{bound}"
            # Whether a module that the package hides in the end is still there at an import depends on what runs first.
            if not hiding or (module is root and bound in hiding and kind != "module"):
                assert names.resolve("t.py", dotted) == identified(thing)
            for method in ("f", "g", "C") if isinstance(thing, type) else ():
                found = getattr(thing, method, None)
                assert names.method(identified(thing), method) == (identified(found) if found else None)
