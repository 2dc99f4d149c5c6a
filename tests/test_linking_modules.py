"""Which file a dotted name stands for, by the layout of the files alone."""

from __future__ import annotations

import importlib
import os
import tempfile
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlint.linking.modules import Modules


def find(files: str, importer: str, dotted: str) -> tuple[str, str] | None:
    return Modules([*files.split(), importer]).find(importer, dotted)


PACKAGE = "pkg/__init__.py pkg/utils.py pkg/models/__init__.py pkg/models/net.py"


@pytest.mark.parametrize(
    ("importer", "dotted", "found"),
    [
        ("pkg/train.py", ".utils", ("pkg/utils.py", "")),
        ("pkg/train.py", ".utils.f", ("pkg/utils.py", "f")),
        ("pkg/train.py", ".utils.Net.forward", ("pkg/utils.py", "Net.forward")),
        ("pkg/train.py", ".models", ("pkg/models/__init__.py", "")),
        ("pkg/train.py", ".models.Net", ("pkg/models/__init__.py", "Net")),
        ("pkg/train.py", ".models.net.Net", ("pkg/models/net.py", "Net")),
        ("pkg/train.py", ".", ("pkg/__init__.py", "")),
        ("pkg/train.py", ".missing", ("pkg/__init__.py", "missing")),
        ("pkg/__init__.py", ".utils.f", ("pkg/utils.py", "f")),
        ("pkg/__init__.py", ".", ("pkg/__init__.py", "")),
        ("pkg/models/net.py", "..utils.f", ("pkg/utils.py", "f")),
        ("pkg/models/net.py", "..", ("pkg/__init__.py", "")),
        ("pkg/models/__init__.py", "..utils", ("pkg/utils.py", "")),
        ("pkg/models/net.py", "...utils", None),
        ("pkg/models/net.py", "." * 500, None),
        ("other.py", ".missing", None),
    ],
)
def test_relative_names(importer: str, dotted: str, found: tuple[str, str] | None) -> None:
    assert find(PACKAGE, importer, dotted) == found


@pytest.mark.parametrize("dotted", ["", "pkg..utils", "pkg.", "?.step", "pkg/utils.py:f", "pkg/utils"])
def test_what_is_no_name_stands_for_nothing(dotted: str) -> None:
    assert find(PACKAGE, "train.py", dotted) is None


@pytest.mark.parametrize(
    ("files", "importer", "dotted", "found"),
    [
        # scripts and what lies beside them
        ("models.py", "train.py", "models.Net", ("models.py", "Net")),
        ("exp/models.py models.py", "exp/train.py", "models.Net", ("exp/models.py", "Net")),
        ("models.py", "exp/deep/train.py", "models.Net", ("models.py", "Net")),
        ("exp/__init__.py exp/models.py", "exp/train.py", "models.Net", ("exp/models.py", "Net")),
        # a package from inside, wherever it lies
        (PACKAGE, "pkg/models/net.py", "pkg.utils.f", ("pkg/utils.py", "f")),
        ("src/pkg/__init__.py src/pkg/a.py", "src/pkg/b.py", "pkg.a", ("src/pkg/a.py", "")),
        ("clip/__init__.py clip/clip.py clip/model.py", "clip/train.py", "clip.model", ("clip/model.py", "")),
        # code in a package does not import its neighbours
        ("pkg/__init__.py pkg/utils.py utils.py", "pkg/train.py", "utils.f", ("utils.py", "f")),
        (
            "models.py tests/__init__.py tests/models/__init__.py",
            "tests/models/t.py",
            "models.Net",
            ("models.py", "Net"),
        ),
        # a package goes before a module, and that before a folder that is none
        ("a.py a/__init__.py a/b.py", "t.py", "a.b", ("a/b.py", "")),
        ("a.py a/b.py", "t.py", "a.b", ("a.py", "b")),
        # namespace packages
        ("ns/models.py", "train.py", "ns.models.Net", ("ns/models.py", "Net")),
        ("ns/deep/models.py", "ns/train.py", "ns.deep.models.Net", ("ns/deep/models.py", "Net")),
        ("ns/models.py", "train.py", "ns", None),
        ("ns/models.py", "train.py", "ns.missing", None),
        ("pkg/__init__.py pkg/a.py tests/pkg/data.py", "tests/pkg/t.py", "pkg.a", ("pkg/a.py", "")),
        # from elsewhere, if there is only one
        ("src/pkg/__init__.py src/pkg/a.py", "tests/t.py", "pkg.a", ("src/pkg/a.py", "")),
        ("src/pkg/__init__.py src/pkg/pkg/__init__.py", "tests/t.py", "pkg.a", ("src/pkg/__init__.py", "a")),
        ("src/a.py", "tests/t.py", "a.f", ("src/a.py", "f")),
        ("x/a.py y/a.py", "tests/t.py", "a.f", None),
        ("x/ns/a.py y/ns/b.py", "tests/t.py", "ns.b", ("y/ns/b.py", "")),
        ("x/ns/a.py y/ns/a.py", "tests/t.py", "ns.a", None),
        ("src/pkg/__init__.py docs/pkg/a.py", "tests/t.py", "pkg.a", ("src/pkg/__init__.py", "a")),
        ("src/pkg/__init__.py src/pkg/inner.py", "tests/t.py", "inner.f", None),
    ],
)
def test_absolute_names(files: str, importer: str, dotted: str, found: tuple[str, str] | None) -> None:
    assert find(files, importer, dotted) == found


@pytest.mark.parametrize(
    ("files", "importer", "dotted", "found"),
    [
        ("layers/torch.py", "layers/conv.py", "torch.nn", None),
        ("torch/__init__.py", "t.py", "torch", None),
        ("queue.py", "t.py", "queue.Queue", None),
        ("numpy.py", "t.py", "numpy.array", None),
        ("hooks/__init__.py hooks/wandb.py", "hooks/all.py", "wandb.init", None),
        ("hooks/wandb.py", "t.py", "wandb.init", None),
        ("hooks/__init__.py hooks/wandb/__init__.py", "hooks/all.py", "wandb.init", None),
        (
            "src/transformers/__init__.py",
            "tests/t.py",
            "transformers.Trainer",
            ("src/transformers/__init__.py", "Trainer"),
        ),
        ("ignite/__init__.py ignite/engine.py", "ignite/x.py", "ignite.engine", ("ignite/engine.py", "")),
    ],
)
def test_well_known_packages_are_outside(files: str, importer: str, dotted: str, found: tuple[str, str] | None) -> None:
    assert find(files, importer, dotted) == found


def test_a_file_does_not_import_itself() -> None:
    assert find("", "hooks/comet.py", "comet.Experiment") is None
    assert find("comet.py", "hooks/comet.py", "comet.Experiment") == ("comet.py", "Experiment")
    assert find("a/__init__.py a/b.py", "a.py", "a.b") == ("a/b.py", "")


def test_stubs_and_other_files_do_not_count() -> None:
    modules = Modules(["a.pyi", "b.ipynb", "pkg/__init__.pyi", "t.py"])
    assert [modules.find("t.py", name) for name in ("a", "b", "pkg", ".a")] == [None] * 4


def test_modules_know_the_package_they_are_in() -> None:
    modules = Modules([*PACKAGE.split(), "t.py"])
    assert modules.parent("pkg/utils.py") == ("pkg/__init__.py", "utils")
    assert modules.parent("pkg/models/__init__.py") == ("pkg/__init__.py", "models")
    assert modules.parent("pkg/__init__.py") is modules.parent("t.py") is None
    assert modules.child("pkg/__init__.py", "utils") == "pkg/utils.py"
    assert modules.child("pkg/__init__.py", "missing") is modules.child("pkg/utils.py", "models") is None


@pytest.mark.parametrize("spell", ["{}", "./{}", "x/../{}", "{0.parent}//{0.name}", "absolute"])
def test_paths_are_answered_as_they_are_spelt(spell: str) -> None:
    files = ["src/pkg/__init__.py", "src/pkg/a.py", "src/pkg/sub/b.py", "tests/t.py"]
    spelt = {file: os.path.abspath(file) if spell == "absolute" else spell.format(Path(file)) for file in files}
    modules = Modules(spelt.values())
    assert modules.find(spelt["tests/t.py"], "pkg.a.f") == (spelt["src/pkg/a.py"], "f")
    assert modules.find(spelt["src/pkg/sub/b.py"], "..a.f") == (spelt["src/pkg/a.py"], "f")
    assert modules.find("tests/t.py", "pkg.sub.b") == (spelt["src/pkg/sub/b.py"], "")


def test_spellings_may_be_mixed() -> None:
    outside, inside = "../lib/net.py", os.path.abspath("train.py")
    modules = Modules([outside, inside, "utils.py", "./utils.py"])
    assert modules.find(inside, "lib.net.Net") == (outside, "Net")
    assert modules.find(inside, "utils") == ("./utils.py", "")  # one file has one spelling


def test_the_folder_that_the_run_starts_in_may_be_a_package() -> None:
    name = Path.cwd().name
    assert find("__init__.py a.py", "b.py", f"{name}.a") == ("a.py", "")


PARTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3)
FILES = st.builds(lambda parts, end: "/".join(parts) + end, PARTS, st.sampled_from([".py", "/__init__.py", ".pyi"]))


@settings(max_examples=150)
@given(st.sets(FILES, max_size=8), st.lists(PARTS, min_size=1, max_size=6))
def test_a_script_finds_what_python_finds(files: set[str], names: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        script = f"{folder}/script.py"
        modules = Modules([script, *(f"{folder}/{file}" for file in files)])
        importlib.invalidate_caches()
        for parts in names:
            expected = python_finds(folder, parts)
            assert expected is None or modules.find(script, ".".join(parts)) == expected


def python_finds(folder: str, parts: list[str]) -> tuple[str, str] | None:
    found, locations = None, [folder]
    for count, part in enumerate(parts, start=1):
        spec = PathFinder.find_spec(part, locations)
        if spec is None:
            break
        if spec.origin is not None:
            found = spec.origin.replace(os.sep, "/"), ".".join(parts[count:])
        locations = list(spec.submodule_search_locations or ())
    return found


@settings(max_examples=100)
@given(
    st.sets(FILES, min_size=1).flatmap(lambda files: st.tuples(st.just(sorted(files)), st.permutations(sorted(files)))),
    PARTS,
)
def test_the_order_of_the_files_does_not_matter(files: tuple[list[str], list[str]], parts: list[str]) -> None:
    dotted = ".".join(parts)
    first, second = map(Modules, files)
    for importer in files[0]:
        assert first.find(importer, dotted) == second.find(importer, dotted)
        assert first.find(importer, f".{dotted}") == second.find(importer, f".{dotted}")


def test_many_files_and_names() -> None:
    folders = [f"src/pkg/p{index}" for index in range(100)]
    files = [f"{folder}/m{index}.py" for folder in folders for index in range(50)]
    modules = Modules(["src/pkg/__init__.py", *(f"{folder}/__init__.py" for folder in folders), *files])
    for importer in files[::50]:
        for file in files[::5]:
            dotted = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
            assert modules.find(importer, f"{dotted}.f") == (file, "f")
