"""Where a value goes: the uses of a function's first parameter, as the analysis follows it."""

from __future__ import annotations

import ast

import pytest

from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.lower.python import lower
from gradlint.project.program import Program
from gradlint.project.values.definitions import Definitions
from gradlint.project.values.uses import KEPT, OFF, PASSED, RETURNED, STORED, WALKED, YIELDED, Tracer

HEAD = "import torch\nimport torch.nn.functional as F\n"


def module_of(text: str) -> Body:
    return lower(text, ast.parse(text))


def uses(text: str, function: str = "f", parameter: str = "v") -> list[str]:
    """The kinds of use of a parameter, a question mark behind those where it may be off the graph."""
    module = module_of(HEAD + text)
    program = Program(module)
    program.run(module, 1)
    body = next(child for child in module.children if child.name == function)
    found = Tracer(program).trace(("param", body, parameter)).uses
    return sorted({use.kind + ("" if use.sure else "?") for use in found})


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("v.backward()", [WALKED]),
        ("(v * 2).sum().backward()", [WALKED]),
        ("torch.autograd.grad(v, x)", [WALKED]),
        ("scaler.scale(v).backward()", [WALKED]),
        ("trainer.train_step(v)", [WALKED]),
        ("print(v.item())", [OFF]),
        ("y = v.detach() * 2", [OFF]),
        ("hits = v > 0", [OFF]),
        ("return v", [RETURNED]),
        ("return {'loss': v}", [RETURNED]),
        ("return v.shape, v.dtype", []),
        ("yield v", [YIELDED]),
        ("x.out = v", [STORED]),
        ("buffer.send(v)", [PASSED]),
        ("print(v)", [OFF]),
        ("return len(v)", []),
        ("return unknown(v)", [RETURNED + "?"]),
        ("return F.relu(v)", [RETURNED]),
        ("return sum(p.item() for p in v)", [OFF]),
        ("sum(2 * p for p in v).backward()", [WALKED]),
    ],
)
def test_what_a_statement_does_with_a_value(statement: str, expected: list[str]) -> None:
    assert uses(f"def f(v, x, scaler, trainer, buffer, unknown):\n    {statement}\n") == expected


def test_a_value_is_followed_through_variables_flow_sensitively() -> None:
    text = "def f(v, w):\n    x = v\n    x.item()\n    x = w\n    x.backward()\n"
    assert uses(text) == [OFF]
    assert uses(text, parameter="w") == [WALKED]


def test_a_value_is_followed_through_a_list() -> None:
    text = "def f(v):\n    xs = []\n    ys = xs\n    ys.append(v)\n    torch.stack(xs).sum().backward()\n"
    assert uses(text) == [KEPT, WALKED]


def test_a_value_is_followed_through_a_function_of_the_file() -> None:
    text = "def half(x):\n    return x / 2\ndef f(v):\n    half(v).backward()\n"
    assert uses(text) == [WALKED]


def test_a_value_is_followed_into_a_nested_function() -> None:
    text = "def f(v, opt):\n    def closure():\n        v.backward()\n    opt.step(closure)\n"
    assert uses(text) == [WALKED]


def test_what_runs_without_gradients_takes_off_the_graph() -> None:
    text = "@torch.no_grad()\ndef score(x):\n    return x.mean()\ndef f(v):\n    return score(v)\n"
    assert uses(text) == [OFF]


def test_recursion_ends() -> None:
    assert uses("def f(v):\n    return f(v) if v else v\n") == [RETURNED]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("def f(x):\n    return x\n", [None]),
        ("def f():\n    x = 1\n    return x\n", [2]),
        ("def f(c):\n    x = 1\n    if c:\n        x = 2\n    return x\n", [2, 4]),
        ("def f(x, c):\n    if c:\n        x = 2\n    return x\n", [None, 3]),
        ("def f():\n    x = 1\n    try:\n        x = g()\n    except E:\n        return x\n", [2, 4]),
    ],
)
def test_a_read_sees_the_assignments_that_reach_it(text: str, seen: list[int | None]) -> None:
    body = module_of(text).children[0]
    known = Definitions(body)
    (load,) = [load for load in known.seen if load.name == "x" and isinstance(load, ir.Load)]
    lines = {None if store is None else store.span[0] for store in known.seen[load]}
    assert sorted(lines, key=lambda line: line or 0) == seen
