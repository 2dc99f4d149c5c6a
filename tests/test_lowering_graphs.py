"""Graphs: invariants on a large body of real code, and their size on code made to blow them up."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradlint.ir.cfg import Body, Graph
from gradlint.ir.events import (
    Assume,
    Await,
    Build,
    Call,
    Copy,
    Enter,
    Exit,
    Iterate,
    Load,
    MakeClass,
    MakeFunction,
    Raise,
    Return,
    Swallow,
)
from gradlint.lower.python import lower


def bodies(body: Body) -> Iterator[Body]:
    assert body.graph is not None
    yield body
    for child in body.children:
        yield from bodies(child)


def function(text: str) -> Graph:
    """The graph of the first function in ``text``."""
    return lower(text, ast.parse(text)).children[0].graph


def targets(graph: Graph, index: int) -> set[int]:
    block = graph.blocks[index]
    return set(block.successors) | ({block.pad} if block.pad is not None else set())


def reachable(graph: Graph) -> set[int]:
    seen, waiting = {0}, [0]
    while waiting:
        for target in targets(graph, waiting.pop()) - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def check(body: Body) -> None:
    """Fails where a graph breaks a promise of `gradlint.ir.cfg` or `gradlint.ir.events`."""
    graph = body.graph
    assert not graph.too_large
    assert [block.index for block in graph.blocks] == list(range(len(graph.blocks)))
    assert not graph.blocks[graph.exit].events and not graph.blocks[graph.raised].events
    assert reachable(graph) | {graph.exit, graph.raised} == set(range(len(graph.blocks)))
    assigned: Counter[int] = Counter()
    regions = {event.region for block in graph.blocks for event in block.events if isinstance(event, Enter)}
    for block in graph.blocks:
        last = block.events[-1] if block.events else None
        final = block.index in (graph.exit, graph.raised)
        assert bool(block.successors) != (final or isinstance(last, Raise))
        assert len(set(block.successors)) == len(block.successors)
        assert set(block.loops) <= set(graph.loops)
        assert set(block.regions) <= regions
        raises = any(isinstance(event, Call | Raise) for event in block.events)
        assert (block.pad is not None) == raises
        for position, event in enumerate(block.events):
            line, column, end_line, end_column = event.span
            assert (line, column) <= (end_line, end_column)
            assert not isinstance(event, Raise) or event is last
            assert not isinstance(event, Swallow) or position == 0
            assert not isinstance(event, Exit) or event.region in block.regions
            assert not isinstance(event, Enter) or event.region not in block.regions
            if isinstance(event, Assume):
                assert all(isinstance(before, Assume) for before in block.events[:position])
            if isinstance(event, MakeFunction | MakeClass):
                assert event.body in body.children
            dst = getattr(event, "dst", None)
            if dst is not None:
                assert 0 <= dst < graph.refs
                assigned[dst] += not isinstance(event, Copy)
    assert not assigned or max(assigned.values()) == 1
    for loop in graph.loops.values():
        head = graph.blocks[loop.head]
        assert head.loops[-1] == loop.id


def standard_library() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in root.rglob("*.py") if "site-packages" not in path.parts]
    return sorted(paths)[::12]


def test_standard_library_is_lowered_by_the_book() -> None:
    lowered = 0
    for path in standard_library():
        try:
            text = path.read_bytes().decode()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        for body in bodies(lower(text, tree)):
            check(body)
        lowered += 1
    assert lowered > 100


def nested(depth: int, opening: str, innermost: str, closing: str) -> str:
    """A function of ``depth`` nested statements; ``{i}`` stands for the indentation."""
    lines = ["def f():"]
    for level in range(1, depth + 1):
        lines += [" " * level + line for line in opening.splitlines()]
    lines.append(" " * (depth + 1) + innermost)
    for level in range(depth, 0, -1):
        lines += [" " * level + line for line in closing.splitlines()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("try:\n if a: return g()", "finally:\n h()"),
        ("with c():\n if a: return g()", "h()"),
        ("for i in j:\n with c():\n  if a: break\n  if b: continue\n  if c: return g()", "h()"),
    ],
    ids=["finally", "with", "loops"],
)
def test_size_is_linear_in_nesting(opening: str, closing: str) -> None:
    small = function(nested(20, opening, "g()", closing))
    large = function(nested(60, opening, "g()", closing))
    assert len(large.blocks) <= 3 * len(small.blocks)
    assert len(large.blocks) < 60 * 20


def test_sixty_items_of_one_with_are_linear() -> None:
    items = ", ".join(f"c({i})" for i in range(60))
    graph = function(f"def f():\n with {items}:\n  if a: return 1\n  g()\n")
    assert len(graph.blocks) < 60 * 8


def test_finally_in_finally_is_bounded() -> None:
    text = "def f():\n"
    for level in range(1, 40):
        indent = " " * level
        text += f"{indent}try: g()\n{indent}finally:\n"
    graph = function(text + " " * 40 + "h()\n")
    assert graph.too_large
    assert not graph.blocks


def test_huge_body_is_bounded() -> None:
    graph = function("def f():\n" + " f(1, 2, 3, 4, 5, 6, 7, 8, 9)\n" * 19_000)
    assert graph.too_large


def test_long_chain_of_elif_needs_no_stack() -> None:
    text = "def f():\n if a: g()\n" + " elif a: g()\n" * 500
    assert len(function(text).blocks) > 1000


@pytest.mark.parametrize(
    "expression",
    [
        "+".join(["a"] * 100),
        "(" * 99 + "a" + ")" * 99,
        "a" + ".b" * 100,
        "f(" * 90 + ")" * 90,
        "a if b else " * 100 + "c",
        "not " * 100 + "a",
        "lambda: " * 90 + "a",
        "[x for x in " * 90 + "a" + "]" * 90,
    ],
)
def test_deep_expression(expression: str) -> None:
    deepest = f"return {expression}"
    assert function(nested(40, "if a:", deepest, "pass")).blocks


def test_table_of_constants_is_one_event() -> None:
    items = ", ".join(map(str, range(1000)))
    graph = function(
        f"def f():\n return [[{items}], {{{items}}}, {{1: 2, {', '.join(f'{i}: 0' for i in range(999))}}}]\n"
    )
    assert sum(len(block.events) for block in graph.blocks) == 5


def test_constant_conditions_make_no_branch() -> None:
    graph = function("def f():\n if True and not 0: a()\n else: b()\n x = 1 if None else 2\n while 1:\n  c()\n")
    assert not any(isinstance(event, Assume) for block in graph.blocks for event in block.events)
    assert graph.exit not in reachable(graph)


def test_code_after_return_is_dropped() -> None:
    graph = function("def f():\n return 1\n g()\n")
    assert [type(event).__name__ for block in graph.blocks for event in block.events] == ["Const", "Return"]


def test_graph_is_built_once_and_on_demand() -> None:
    body = lower("def f(): g()\n", ast.parse("def f(): g()\n"))
    assert body.children[0]._graph is None
    assert body.children[0].graph is body.children[0].graph


def test_try_that_swallows_inside_reaches_its_handlers() -> None:
    graph = function("def f():\n try:\n  x = 1\n except E:\n  h()\n")
    assert any(isinstance(event, Call) for block in graph.blocks for event in block.events)


def test_except_exception_takes_everything() -> None:
    graph = function("def f():\n try:\n  g()\n except (A, builtins.Exception):\n  x = 1\n")
    assert graph.raised not in reachable(graph)


def test_comprehension_builds_from_its_element() -> None:
    graph = function("def f(): return {a: b for a in c if False}, [d for d in e]\n")
    builds = [event for block in graph.blocks for event in block.events if isinstance(event, Build)]
    assert [(event.kind, len(event.items)) for event in builds] == [("dict", 0), ("list", 1), ("tuple", 2)]


def test_async_constructs_await() -> None:
    graph = function("async def f():\n async with a as b:\n  return [c async for c in await b]\n")
    kinds = Counter(event.kind for block in graph.blocks for event in block.events if isinstance(event, Await))
    assert kinds == {"async with": 2, "async for": 1, "await": 1}


def test_loops_of_a_block_are_those_around_it() -> None:
    graph = function("def f():\n for a in b:\n  while c:\n   d\n else:\n  e\n return g\n")
    where = {event.name: block.loops for block in graph.blocks for event in block.events if isinstance(event, Load)}
    assert where == {"b": (), "c": (0, 1), "d": (0, 1), "e": (), "g": ()}
    assert sum(isinstance(event, Iterate | Return) for block in graph.blocks for event in block.events) == 2
