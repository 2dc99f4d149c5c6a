"""What a file tells of the code in it that is not analysed."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path
from textwrap import dedent

import pytest

from gradlint.domains import grad_mode
from gradlint.linking.completing import completed
from gradlint.linking.interface import Anything, Class, Function, Interface, Named, Place, encode
from gradlint.project.linked.sketch import sketch
from gradlint.source.positions import Lines


def of(text: str, path: str = "a.py", solved: frozenset[str] = frozenset()) -> Interface:
    text = dedent(text)
    return sketch(ast.parse(text), path, Lines(text), solved)


def called(text: str, function: str = "f") -> list[str]:
    """Return whom a function calls, in no order that matters."""
    return sorted(call.callee for call in of(text).functions[function].calls)


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_are_what_the_module_imports_and_defines() -> None:
    found = of(
        """
        import a.b
        import a.b as c
        from d import e as f
        from . import g
        from ..h import i
        from j import *
        from .k import *
        def l(): pass
        class M: pass
        n = c.Net
        """
    )
    assert {
        name: [thing.name for thing in things if isinstance(thing, Named)] for name, things in found.names.items()
    } == {
        "a": ["a"],
        "c": ["a.b"],
        "f": ["d.e"],
        "g": [".g"],
        "i": ["..h.i"],
        "l": ["a.py:l"],
        "M": ["a.py:M"],
        "n": ["a.b.Net"],
    }
    assert found.stars == (".k", "j")


def test_a_name_may_be_one_of_several_things_but_not_anything() -> None:
    found = of(
        """
        try:
            from fast import add
            from fast import sub
        except ImportError:
            sub = None
            def add(a, b): return a + b
        if add:
            from x import mul
        else:
            mul = make()
        from x import div
        for div in range(3): pass
        """
    )
    assert found.names["add"] == (Named("fast.add"), Named("a.py:add"))
    assert found.names["sub"] == (Named("fast.sub"),)
    assert not {"mul", "div"} & found.names.keys()


def test_names_of_torch_are_canonical() -> None:
    assert of("from torch.autograd import no_grad").names["no_grad"] == (Named("torch.no_grad"),)


# -- functions and classes ---------------------------------------------------------------------------------------------


def test_a_function_is_told_with_its_parameters() -> None:
    found = of(
        """
        @app.command()
        @staticmethod
        async def f(a, /, b: "Net", *c, d: list[int] = 1, **e): "é"; yield a
        """
    ).functions["f"]
    assert [(each.name, each.kind, each.annotation) for each in found.parameters] == [
        ("a", "positional", ""),
        ("b", "positional", "Net"),
        ("c", "args", ""),
        ("d", "keyword", "list[int]"),
        ("e", "kwargs", ""),
    ]
    assert found.is_async and found.is_generator and not found.solved
    assert found.place == Place(4, 11, 4, 12) and found.marks == ("builtins.staticmethod",)


def test_a_class_is_told_with_its_bases_and_methods() -> None:
    found = of(
        """
        from .base import Base
        import lib
        class Inner(Base, lib.Mixin[int], Exception, make()):
            class Part: pass
            def run(self): ...
            if 1:
                def stop(self): return 1
            go = run
        """
    ).classes["Inner"]
    assert found.bases == (
        (Named(".base.Base"),),
        (Named("lib.Mixin"),),
        (Named("builtins.Exception"),),
        (Anything(),),
    )
    assert found.methods == {"run": "Inner.run", "stop": "Inner.stop", "go": "Inner.run"}


def test_a_base_may_come_from_any_star() -> None:
    [base] = of("from .a import *\nfrom b import *\nclass C(Net): pass").classes["C"].bases
    assert base == (Named(".a.Net"), Named("b.Net"))


@pytest.mark.parametrize(
    ("body", "empty"),
    [("...", True), ("'''Words.'''", True), ("raise NotImplementedError", True), ("pass", True), ("return 1", False)],
)
def test_a_method_without_code_is_abstract(body: str, empty: bool) -> None:
    found = of(f"class A:\n    def f(self): {body}\ndef f(): {body}").functions
    assert found["A.f"].abstract is empty and not found["f"].abstract


# -- calls -------------------------------------------------------------------------------------------------------------


def test_calls_are_told_with_their_place_and_the_unknown_mode() -> None:
    found = of("from b import run\n\n\ndef f():\n    é = run(1)\n").functions["f"]
    [call] = found.calls
    assert (call.callee, call.place, call.modes) == ("b.run", Place(5, 9, 5, 15), grad_mode.INHERITED)


def test_the_module_is_a_function_without_a_name() -> None:
    text = "from b import run\n@run()\ndef f(x=run(0)): pass\nclass A(run()):\n    x = run(1)\nif f:\n    run(2)\n"
    assert called(text, "") == ["b.run"] * 5
    assert called("def main(): pass\nif __name__ == '__main__':\n    main()\n", "") == ["a.py:main"]


@pytest.mark.parametrize(
    ("line", "callees"),
    [
        ("run()", ["b.run"]),
        ("b.run()", ["b.run"]),
        ("b.c.run()", ["b.c.run"]),
        ("[run(x) for x in y]", ["b.run"]),
        ("lambda: run()", ["b.run"]),
        ("with run() as x: pass", ["b.run"]),
        ("for x in run(): pass", ["b.run"]),
        ("try: pass\n    except run(): pass", ["b.run"]),
        ("match 1:\n        case 1 if run(): run()", ["b.run", "b.run"]),
        ("Thread(target=run, args=b.Net)", ["b.run"]),
        ("own()", ["a.py:own"]),
        ("Own.method()", ["a.py:Own.method"]),
        ("trainer = Trainer(1)\n    trainer.fit()", ["b.Trainer", "b.Trainer.fit"]),
        ("x = Own()\n    x.method()", ["a.py:Own", "a.py:Own.method"]),
        ("from .late import go\n    go()", [".late.go"]),
        ("def inner(): run()\n    inner()", ["a.py:f.inner"]),
    ],
)
def test_who_is_called(line: str, callees: list[str]) -> None:
    text = f"from b import run, Trainer\nimport b\ndef own(): pass\nclass Own: pass\ndef f(y):\n    {line}\n"
    assert called(text) == callees


@pytest.mark.parametrize(
    "line",
    [
        "len([])",
        "y()",
        "y.run()",
        "run = y\n    run()",
        "for run in y: run()",
        "[run() for run in y]",
        "torch.relu(y)",
        "json.dumps(y)",
        "run()()",
        "run[0]()",
        "unknown()",
    ],
)
def test_who_is_not(line: str) -> None:
    found = called(f"from b import run\nimport torch, json\ndef f(y):\n    {line}\n")
    assert found == (["b.run"] if line.startswith("run()") else [])


def test_methods_call_those_of_their_class_and_of_its_bases() -> None:
    text = """
        from b import Base
        class A(Base):
            def f(self):
                self.g()
                super().h()
                def inner(): self.i()
            @staticmethod
            def s(self): self.j()
            @classmethod
            def c(cls): cls.k()
    """
    assert called(text, "A.f") == ["a.py:A.g", "b.Base.h"]
    assert called(text, "A.f.inner") == ["a.py:A.i"]
    assert called(text, "A.s") == [] and called(text, "A.c") == ["a.py:A.k"]


@pytest.mark.parametrize(
    ("body", "handed_on"),
    [
        ("run()", False),
        ("await run()", False),
        ("x = run()", False),
        ("return run()", True),
        ("x = run()\n    return x", True),
    ],
)
def test_a_result_may_be_handed_on_by_who_returns_something(body: str, handed_on: bool) -> None:
    [call] = of(f"from b import run\nasync def f():\n    {body}\n").functions["f"].calls
    assert call.uses == ({"returned"} if handed_on else set())


@pytest.mark.parametrize(
    "text",
    [
        "@torch.no_grad()\ndef f(): run()",
        "def f():\n    with torch.no_grad(): pass\n    run()",
        "def f(): run(torch.no_grad)",
    ],
)
def test_where_the_mode_is_switched_nothing_is_known_of_it(text: str) -> None:
    functions = of(f"import torch\nfrom b import run\ndef g(): run()\n{text}\n").functions
    assert [call.modes for call in functions["f"].calls] == [grad_mode.INHERITED | grad_mode.OFF]
    assert [call.modes for call in functions["g"].calls] == [grad_mode.INHERITED]


def test_calls_of_what_is_known_better_are_left_out() -> None:
    found = of("from b import run\ndef f(): run()\ndef g(): run()\nrun()", solved=frozenset({"f", ""})).functions
    assert not found["f"].calls and not found[""].calls and found["g"].calls


# -- together with what an analysis tells ------------------------------------------------------------------------------


def test_what_is_told_anew_takes_the_place_of_what_was_told_before() -> None:
    before = of("import x\ndef f(): x.y()\ndef g(): x.z()\nclass A:\n    def m(self): pass\nclass B: pass")
    place = Place(9, 1, 9, 2)
    told = Interface(
        "a.py",
        {"x": (Named("elsewhere"),)},
        (),
        {"f": Function("f", place, (), solved=True), "g": Function("g", place, ())},
        {"A": Class("A", place, ((Named("Base"),),), {"n": "A.n"})},
        frozenset({"wanted"}),
    )
    found = completed(told, before)
    assert found.functions == {**before.functions, "f": told.functions["f"]}
    assert found.classes == {
        "A": Class("A", place, ((Named("Base"),),), {"m": "A.m", "n": "A.n"}),
        "B": before.classes["B"],
    }
    assert found.names == {"x": (Named("elsewhere"),), "f": (Named("a.py:f"),), "g": (Named("a.py:g"),)}
    assert found.wants == {"wanted"}


# -- everything else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::6], ids=lambda p: p.name)
def test_real_code_can_be_told_of(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sketch(ast.parse(text), "a.py", Lines(text))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, functions)}
    assert defined == {function.qualname.rpartition(".")[2] for function in found.functions.values()} - {""}
    assert encode(found) == encode(sketch(ast.parse(text), "a.py", Lines(text)))


def test_deep_code_is_no_obstacle() -> None:
    text = f"x = {'(' * 80}f(){')' * 80}\ny = {' + '.join(['f()'] * 500)}\n"
    text += "".join(f"{' ' * depth}def f{depth}():\n" for depth in range(50)) + " " * 50 + "pass\n"
    assert len(of(text).functions) == 51
