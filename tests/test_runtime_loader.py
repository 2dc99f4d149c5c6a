"""Loading the user's modules: linting, probes, edits, and what must not change."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from gradlint import Config, Location, engine
from gradlint.finding import Edit
from gradlint.fix import FixError
from gradlint.runtime.verify import probes
from gradlint.runtime.verify.loader import SourceHook

pytestmark = pytest.mark.torch

MODULE = '''\
"""Trains."""

from __future__ import annotations

import torch


class Trainer:
    """Holds a model."""

    rate: float = 0.1

    def step(self, model, x):
        """Take a step."""
        with torch.no_grad():
            loss = model(x).sum()
        loss.backward()


def freeze(model):
    for parameter in model.parameters():
        parameter.require_grad = False
'''

Imported = Callable[..., ModuleType]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "trains.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def imported(project: Path) -> Iterator[Imported]:
    """Import a module of the project through a hook; forget the project's modules afterwards."""

    def load(hook: SourceHook, name: str = "trains", text: str = "") -> ModuleType:
        if text:
            (project / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        with hook:
            return importlib.import_module(name)

    yield load
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(project)):
            del sys.modules[name]


def ran(source: str, call: str = "None") -> dict[str, int]:
    """Put probes where ``source`` says ``«name»``, run it and ``call``; return the hits by name."""
    points: dict[str, tuple[int, int]] = {}
    text = source
    while "«" in text:
        before, _, rest = text.partition("«")
        name, _, rest = rest.partition("»")
        line = before.rpartition("\n")[2]
        points[name] = (before.count("\n") + 1, len(line.encode()))
        text = before + rest
    tree = ast.parse(text)
    numbers = probes.insert(tree, points.values())
    space: dict[str, Any] = {"__name__": "made"}
    exec(compile(tree, "<made>", "exec", dont_inherit=True), space)
    eval(call, space)
    return {name: probes.hits(numbers[point]) for name, point in points.items() if point in numbers}


def test_statements_count_when_they_begin() -> None:
    source = """\
def f(n):
    for i in range(«head»n):
        if i > 1:
            x = «then»i
        elif «test»i > 5:
            x = «never»0
        else:
            x = 'é日' + «after»str(i)
    with «item»open(__import__('os').devnull):
        try:
            return «returned»1
        except «kind»ValueError:
            «handler»x = 2
        finally:
            «last»x = 3
"""
    assert ran(source, "[f(3), f(4)]") == {
        "head": 2,
        "then": 3,
        "test": 4,
        "never": 0,
        "after": 4,
        "item": 2,
        "returned": 2,
        "kind": 2,
        "handler": 0,
        "last": 2,
    }


def test_what_is_computed_later_counts_then() -> None:
    source = """\
import functools
later = lambda n: «body»n + 1
empty = [«element»i for i in «source»[]]
pairs = {«key»k: «value»k for k in range(3)}
lazy = («made»i for i in range(4))
@functools.lru_cache(«decorator»1)
def f(n=«default»2):
    return «inside»n
class C:
    x = «attribute»1
    call = lambda self: (yield «yielded»1)
async def g():
    return [«awaited»x async for x in aiter_()]
match «subject»3:
    case int(n) if «guard»n > 2:
        «case»n
"""
    assert ran(source, "[f(), later(1), later(2), sum(lazy), list(C().call())]") == {
        "body": 2,
        "element": 0,
        "source": 1,
        "key": 3,
        "value": 3,
        "made": 4,
        "decorator": 1,
        "default": 1,
        "inside": 1,
        "attribute": 1,
        "yielded": 1,
        "awaited": 0,
        "subject": 1,
        "guard": 1,
        "case": 1,
    }


def test_a_deferred_value_is_what_it_was() -> None:
    assert ran("found = [«a»0, «b»None]\nzero = [«c»x for x in (0, None, 2)]\nassert zero == [0, None, 2]") == {
        "a": 1,
        "b": 1,
        "c": 3,
    }


def test_nothing_stands_before_docstrings_and_the_future() -> None:
    tree = ast.parse('"""Doc."""\nfrom __future__ import annotations\nx: Missing = 1\n')
    numbers = probes.insert(tree, [(1, 0), (2, 0), (3, 13)])
    space: dict[str, Any] = {}
    exec(compile(tree, "<made>", "exec", dont_inherit=True), space)
    assert space["__doc__"] == "Doc." and space["__annotations__"] == {"x": "Missing"}
    assert list(numbers) == [(3, 13)]


def codes(code: CodeType) -> dict[str, list[CodeType]]:
    found: dict[str, list[CodeType]] = {code.co_name: [code]}
    for constant in code.co_consts:
        if inspect.iscode(constant):
            for name, inner in codes(constant).items():
                found.setdefault(name, []).extend(inner)
    return found


def positions(code: CodeType) -> set[tuple[int | None, ...]]:
    if sys.version_info < (3, 11):
        return {(line,) for _, _, line in code.co_lines()}
    return {tuple(each) for each in code.co_positions()}


def test_positions_stay_and_probes_have_no_width(project: Path) -> None:
    hook = SourceHook(Config())
    path = str(project / "trains.py")
    plain, probed = codes(compile(MODULE, path, "exec")), codes(hook.compiled(path))
    assert plain.keys() == probed.keys()
    for name, pairs in plain.items():
        for one, other in zip(pairs, probed[name], strict=True):
            assert positions(one) <= positions(other)
            assert {line for *_, line in one.co_lines()} == {line for *_, line in other.co_lines()}
            assert one.co_firstlineno == other.co_firstlineno and one.co_varnames == other.co_varnames
            for extra in positions(other) - positions(one):
                assert extra[0] == extra[1] and extra[2:3] == extra[3:4]


def test_a_module_is_linted_and_counted(imported: Imported) -> None:
    import torch

    hook = SourceHook(Config())
    module = imported(hook)
    (linted,) = hook.files
    assert [(f.code, f.path) for f in linted.findings] == [("GRD101", "trains.py"), ("GRD202", "trains.py")]
    backward, freeze = linted.findings
    assert hook.hits("trains.py", backward.location) == hook.hits("trains.py", freeze.location) == 0
    model = torch.nn.Linear(2, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="does not require grad") as raised:
            module.Trainer().step(model, torch.ones(1, 2))
    module.freeze(model)
    assert hook.hits("trains.py", backward.location) == 3
    assert hook.hits("trains.py", freeze.location) == 2
    assert hook.hits("trains.py", backward.evidence[0].location) == 3
    assert hook.hits("trains.py", Location(1, 1, 1, 2)) is None
    assert hook.hits("other.py", backward.location) is None
    entry = next(each for each in traceback.extract_tb(raised.value.__traceback__) if each.filename == module.__file__)
    assert (entry.lineno, entry.line) == (17, "loss.backward()")


def test_a_module_looks_like_itself(imported: Imported, project: Path) -> None:
    module = imported(SourceHook(Config()))
    assert module.__file__ == str(project / "trains.py") and module.__doc__ == "Trains."
    assert isinstance(module.__loader__, SourceFileLoader) and module.__spec__ is not None
    assert module.Trainer.__doc__ == "Holds a model." and module.Trainer.step.__doc__ == "Take a step."
    assert inspect.getsource(module.freeze) == MODULE[MODULE.index("def freeze") :]
    assert inspect.getsource(module.Trainer) in MODULE
    names = {name for name in vars(module) if not name.startswith("__")}
    assert names == {"annotations", "torch", "Trainer", "freeze"}


def test_nothing_instrumented_is_cached(imported: Imported, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    imported(SourceHook(Config()))
    imported(SourceHook(Config()), "plain", "value = 1\n")
    assert [path.name.partition(".")[0] for path in project.glob("__pycache__/*")] == ["plain"]


def test_a_file_is_linted_once(imported: Imported, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    check = engine.check_bytes

    def counting(data: bytes, path: str, config: Config) -> engine.Result:
        seen.append(path)
        return check(data, path, config)

    monkeypatch.setattr(engine, "check_bytes", counting)
    hook = SourceHook(Config())
    module = imported(hook)
    (finding, *_) = hook.files[0].findings
    with hook:
        importlib.reload(module)
        assert hook.hits("trains.py", finding.location) == 0
        (project / "trains.py").write_text("moved = 1\n" * 40)
        importlib.invalidate_caches()
        importlib.reload(module)
    hook.lint_loaded([module.__file__ or ""])
    assert module.moved == 1 and seen == ["trains.py"]


def test_settings_hold(imported: Imported) -> None:
    hook = SourceHook(Config(select=("GRD202",)))
    imported(hook)
    assert [finding.code for finding in hook.files[0].findings] == ["GRD202"]


@pytest.mark.parametrize(
    ("path", "module", "expected"),
    [
        ("model.py", "model", True),
        ("deep/er/model.py", "deep.er.model", True),
        ("beside/model.py", "model", True),
        ("old/model.py", "old.model", False),
        (".venv/lib/python3.11/site-packages/timm/layers.py", "timm.layers", False),
        ("build/model.py", "model", False),
        ("env/wanted/model.py", "wanted.model", True),
        ("rules/grd999.py", "gradlint.rules.grd999", False),
        (torch_file := "site-packages/torch/nn/functional.py", "torch.nn.functional", False),
        (torch_file, "wantedtorch.functional", False),
        (engine.__file__, "gradlint.engine", False),
        (ast.__file__, "ast", False),
    ],
)
def test_whose_a_file_is(project: Path, path: str, module: str, expected: bool) -> None:
    hook = SourceHook(Config(exclude=("old", "env"), root=str(project)), include=["wanted"])
    assert hook.watches(str(project / path), module) is expected


def test_other_folders_and_named_files(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    assert not SourceHook(Config()).watches(str(other / "x.py"))
    assert SourceHook(Config(), [str(other)]).watches(str(other / "x.py"))
    hook = SourceHook(Config())
    hook.own(str(other / "x.py"))
    assert hook.watches(str(other / "x.py")) and not hook.watches(str(other / "y.py"))


class Loud(SourceFileLoader):
    """What a package that rewrites imports puts in the place of Python's loader."""


class LoudFinder:
    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.name else None
        if spec is not None and spec.origin is not None:
            spec.loader = Loud(fullname, spec.origin)
        return spec


@pytest.mark.parametrize("position", [0, 1])
def test_other_hooks_are_left_alone(imported: Imported, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    finders: list[Any] = [*sys.meta_path]
    finders.insert(position, LoudFinder("trains"))
    monkeypatch.setattr(sys, "meta_path", finders)
    hook = SourceHook(Config())
    module = imported(hook)
    assert type(module.__loader__) is Loud and hook.files == []
    hook.lint_loaded()
    (linted,) = hook.files
    assert len(linted.findings) == 2 and linted.probes is None
    assert hook.hits("trains.py", linted.findings[0].location) is None


def test_what_was_there_before_is_linted_later(imported: Imported, project: Path) -> None:
    importlib.invalidate_caches()
    importlib.import_module("trains")
    (project / "run_by_path.py").write_text("import torch\ntorch.no_grad\nmodel.eval().require_grad = False\n")
    hook = SourceHook(Config())
    hook.lint_loaded([str(project / "run_by_path.py"), "<stdin>", str(project / "gone.py"), ast.__file__])
    assert [Path(file.path).name for file in hook.files] == ["run_by_path.py", "trains.py"]


def test_paths_are_those_of_the_start(imported: Imported, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "below").mkdir()
    hook = SourceHook(Config())
    monkeypatch.chdir(project / "below")
    imported(hook)
    assert {finding.path for finding in hook.files[0].findings} == {"trains.py"}
    assert hook.text(str(project / "trains.py")) == MODULE and hook.text("nosuch.py") is None


def test_a_file_that_is_no_python_fails_as_ever(imported: Imported) -> None:
    hook = SourceHook(Config())
    with pytest.raises(SyntaxError) as raised:
        imported(hook, "broken", "import torch\ndef f(:\n")
    assert (raised.value.lineno, raised.value.text) == (2, "def f(:\n")
    assert [finding.code for finding in hook.files[0].result.findings] == ["GRD000"]
    assert hook.files[0].findings == []


def test_odd_bytes_run_as_ever(imported: Imported, project: Path) -> None:
    body = "import torch\n\n\ndef f(model):\n    model.weight.require_grad = 'é'\n    return 'é'\n"
    for name, data in {
        "crlf": body.replace("\n", "\r\n").encode(),
        "marked": b"\xef\xbb\xbf" + body.encode(),
        "latin": b"# coding: latin-1\n" + body.encode("latin-1"),
    }.items():
        (project / f"{name}.py").write_bytes(data)
        hook = SourceHook(Config())
        module = imported(hook, name)
        (finding,) = hook.files[0].findings
        assert module.f(type("M", (), {"weight": type("W", (), {})})) == "é", name
        assert hook.hits(f"{name}.py", finding.location) == 1, name


def test_edits_are_made_in_memory(imported: Imported, project: Path) -> None:
    path = str(project / "trains.py")
    edit = Edit(Location(22, 19, 22, 31), "requires_grad")
    hook = SourceHook(Config(), edits={path: [edit]})
    module = imported(hook)
    import torch

    model = torch.nn.Linear(2, 1)
    module.freeze(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert module.__file__ == path and (project / "trains.py").read_text() == MODULE
    assert hook.files == []
    assert hook.compiled(path).co_filename == path
    hook = SourceHook(Config(), edits={str(project / "plain.py"): [edit]})
    for _ in range(2):
        with pytest.raises(FixError):
            imported(hook, "plain", "value = 1\n")


def test_without_linting_nothing_changes(imported: Imported) -> None:
    hook = SourceHook(Config(), lints=False)
    module = imported(hook)
    assert hook.files == [] and "__gradlint_reached__" not in vars(module)


def test_the_hook_leaves_with_its_block(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    before = [*sys.meta_path]
    with SourceHook(Config()):
        assert len(sys.meta_path) == len(before) + 1
    assert sys.meta_path == before
    with SourceHook(Config()):
        sys.meta_path.clear()
