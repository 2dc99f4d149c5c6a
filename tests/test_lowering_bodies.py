"""Skeletons: the bodies of a module, their names, and which of them speak of gradients."""

from __future__ import annotations

import ast
import re
import symtable
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradlint.ir.cfg import Body
from gradlint.ir.events import MakeClass, MakeFunction
from gradlint.lower.python import lower
from gradlint.torch_model.words import Places, mentions_torch


def module(text: str) -> Body:
    return lower(text, ast.parse(text))


def bodies(body: Body) -> Iterator[Body]:
    """A body and all bodies in it, graphs built."""
    assert body.graph is not None
    yield body
    for child in body.children:
        yield from bodies(child)


def by_name(text: str) -> dict[str, Body]:
    return {body.qualname: body for body in bodies(module(text))}


def test_definitions_are_children_before_any_graph_is_built() -> None:
    body = module("if x:\n    def f(): pass\nelse:\n    class C:\n        async def g(self): yield\n")
    assert [child.qualname for child in body.children] == ["f", "C"]
    (method,) = body.children[1].children
    assert (method.qualname, method.kind, method.is_async, method.is_generator) == ("C.g", "function", True, True)
    assert method.parent is body.children[1]


def test_definition_makes_its_child() -> None:
    body = module("def f(): pass\nclass C: pass\n")
    made = [
        event.body
        for block in body.graph.blocks
        for event in block.events
        if isinstance(event, MakeFunction | MakeClass)
    ]
    assert made == body.children


def test_lambda_in_copied_finally_is_one_child() -> None:
    body = module("def f():\n    try:\n        g()\n    finally:\n        h(lambda: 1, (i for i in j))\n").children[0]
    made = {
        event.body.qualname for block in body.graph.blocks for event in block.events if isinstance(event, MakeFunction)
    }
    assert made == {"f.<lambda>", "f.<genexpr>"}
    assert [child.qualname for child in body.children] == ["f.<lambda>", "f.<genexpr>"]


def test_spans() -> None:
    text = "@a\n@b\nasync  def  naïve(x):\n    pass\nclass C: pass\n"
    function, class_ = module(text).children
    assert (function.span, function.name_span) == ((3, 0, 4, 8), (3, 12, 3, 18))
    assert class_.name_span == (5, 6, 5, 7)


def test_annotations_are_source() -> None:
    text = "def f(ä: 'Tensor', b: dict[str, 'ü'], /, *, c: int) -> (  int): pass\n"
    body = module(text).children[0]
    assert [(parameter.annotation, parameter.kind) for parameter in body.parameters] == [
        ("Tensor", "positional"),
        ("dict[str, 'ü']", "positional"),
        ("int", "keyword"),
    ]
    assert body.returns == "int"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_where_python_says(newline: str) -> None:
    text = newline.join(["x = '\x0c\u2028'", "def f(a: int): pass", "def g(): loss.backward()", ""])
    f, g = module(text).children
    assert f.parameters[0].annotation == "int"
    assert (f.relevant, g.relevant) == (False, True)


def test_walrus_binds_around_comprehensions_and_not_in_lambdas() -> None:
    found = by_name("def f():\n    [(a := 1) for b in c]\n    sum((d := e) for e in c)\n    lambda: (g := 1)\n")
    assert found["f"].locals == {"a", "d", "b@2:4"}
    assert found["f.<genexpr>"].nonlocal_names == {"d"}
    assert found["f.<lambda>"].locals == {"g"}


def test_walrus_in_generator_expression_of_module_is_global() -> None:
    assert by_name("any((last := x) for x in y)\n")["<genexpr>"].global_names == {"last"}


def test_yield_in_lambda_is_not_of_the_function() -> None:
    found = by_name("def f():\n    return lambda: (yield)\n")
    assert (found["f"].is_generator, found["f.<lambda>"].is_generator) == (False, True)


def test_yield_in_nested_function_is_not_of_the_outer() -> None:
    found = by_name("def f(x=1):\n    def g():\n        return (yield)\n")
    assert (found["f"].is_generator, found["f.g"].is_generator) == (False, True)


def test_lambda_in_comprehension_captures_its_variable() -> None:
    found = by_name("def f(xs):\n    return [lambda y: (x, y) for x, y in xs]\n")
    loads = [getattr(event, "name", None) for block in found["f.<lambda>"].graph.blocks for event in block.events]
    assert loads[:2] == ["x@2:11", "y"]


def test_relevant_is_the_text_of_the_body_itself() -> None:
    text = """
import torch
class Model:
    x = 1
    def forward(self, x):
        return x
    @torch.no_grad()
    def predict(self, x):
        def inner():
            return x
        return inner
    def train_one(self):
        def inner():
            loss.backward()
        return inner
"""
    relevant = {body.qualname for body in bodies(module(text)) if body.relevant}
    assert relevant == {"Model", "Model.predict", "Model.train_one.inner"}


@pytest.mark.parametrize(
    "line",
    [
        "with no_grad(): pass",
        "w.require_grad = True",
        "w.requires_grads_(True)",
        "w.requiresgrad",
        "loss.backward()",
        "loss.manual_backward(loss)",
        "model.eval()",
        "backbone.train(False)",
        "opt.step()",
        "x.add_(1)",
        "x += y",
        "x **= 2",
        "x //= 2",
        "x[0] = 1",
        "x[:, mask] = 0.0",
        "if x: y += z",
        "y = F.sigmoid(F.relu(x, inplace=True))",
        "y = nn.Sequential(nn.Tanh(), nn.ReLU(True))",
        "for x, y in val_loader: pass",
        "def evaluate(net): pass",
    ],
)
def test_word(line: str) -> None:
    assert Places(line)
    assert mentions_torch(b"import torch\n" + line.encode()) and Places(line)
    assert not mentions_torch(b"import numpy\n" + line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "x = a <= b",
        "x = a == b",
        "x = a != b",
        "x.dataset",
        "x.graded",
        "__init__(self)",
        "for backward compatibility",
        "i += 1",
        "self.layers += [layer]",
        "name += 'x'",
        "kwargs[key] = value",
        "settings['lr'] = 1",
        "sizes: list[int] = field()",
        "nn.init.normal_(w)",
        "w.data.mul_(2)",
        "self.act = nn.ReLU(inplace=True)",
        "self.head.train(self.training)",
        "model.train()",
    ],
)
def test_not_a_word(line: str) -> None:
    assert not Places(line)


def test_own_names_for_what_switches_the_mode_are_words() -> None:
    uses = "with quiet(): pass\nwith silent(): pass\n"
    text = f"from torch import no_grad as quiet\nsilent = torch.inference_mode\n{uses}"
    assert [len(Places(text).within(at, at + 16)) for at in (text.index("with q"), text.index("with s"))] == [1, 1]


def sources() -> list[Path]:
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::6]


UNNAMED = {"lambda", "genexpr", "listcomp", "setcomp", "dictcomp"}
"""What `symtable` calls scopes without a name; some versions write ``<listcomp>``."""


def unmangled(names: set[str]) -> set[str]:
    return {re.sub(r"^_[^\W_]\w*?(?=__\w*[^_]$)", "", name) for name in names}


def tables(table: symtable.SymbolTable, prefix: str) -> Iterator[tuple[str, symtable.SymbolTable]]:
    for child in table.get_children():
        if child.get_type() in ("function", "class") and child.get_name().strip("<>") not in UNNAMED:
            name = f"{prefix}.{child.get_name()}" if prefix else child.get_name()
            yield name, child
            yield from tables(child, name)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_locals_are_those_of_python(path: Path) -> None:
    """The compiler's own symbol table knows which names a body binds."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    try:
        table = symtable.symtable(text, path.name, "exec")
    except (SyntaxError, ValueError):
        return
    mine: dict[str, list[frozenset[str]]] = {}
    for body in bodies(module(text)):
        mine.setdefault(body.qualname, []).append(body.locals)
    for name, child in tables(table, ""):
        theirs = {
            symbol.get_name()
            for symbol in child.get_symbols()
            if symbol.is_parameter()
            or (symbol.is_local() and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()))
        }
        assert any(agree(unmangled(theirs), own) for own in mine[name]), name


def agree(theirs: set[str], mine: frozenset[str]) -> bool:
    """Compare names, but for those of comprehensions: since 3.12, Python counts them to the body around."""
    comprehensions = {name.partition("@")[0] for name in mine if "@" in name}
    return theirs - comprehensions == {name for name in mine if "@" not in name} - comprehensions
