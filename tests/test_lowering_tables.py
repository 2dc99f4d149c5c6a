"""No syntax is forgotten: each class of `ast` is lowered by some function, or is meant not to be."""

from __future__ import annotations

import ast
import inspect

import pytest

import gradlint.lower.python
from gradlint.ir.events import Call, Event, Load, Opaque, Store
from gradlint.lower.python import dispatch, patterns

OPAQUE_EXPRESSIONS: set[str] = set()
OPAQUE_STATEMENTS: set[str] = set()
LONG_GONE = {"Num", "Str", "Bytes", "NameConstant", "Ellipsis"}
"""Classes that `ast` kept for the sake of old programs; `ast.parse` makes `ast.Constant`."""


def concrete(base: type[ast.AST]) -> set[str]:
    classes = set()
    for _, thing in inspect.getmembers(ast, inspect.isclass):
        if issubclass(thing, base) and thing is not base:
            classes.add(thing.__name__)
    return classes - LONG_GONE


@pytest.mark.filterwarnings("ignore:ast\\.:DeprecationWarning")
def test_every_expression_is_lowered_or_named_opaque() -> None:
    handled = {kind.__name__ for kind in dispatch.EXPRESSIONS}
    assert concrete(ast.expr) == handled | OPAQUE_EXPRESSIONS


@pytest.mark.filterwarnings("ignore:ast\\.:DeprecationWarning")
def test_every_statement_is_lowered_or_named_opaque() -> None:
    handled = {kind.__name__ for kind in dispatch.STATEMENTS}
    assert concrete(ast.stmt) == handled | OPAQUE_STATEMENTS


@pytest.mark.filterwarnings("ignore:ast\\.:DeprecationWarning")
def test_every_pattern_is_lowered_or_has_nothing_to_lower() -> None:
    assert concrete(ast.pattern) == {kind.__name__ for kind in patterns.CAPTURES} | {"MatchSingleton"}


def test_every_module_that_fills_the_tables_is_imported() -> None:
    modules = {
        function.__module__ for table in (dispatch.EXPRESSIONS, dispatch.STATEMENTS) for function in table.values()
    }
    assert modules <= {module.__name__ for module in gradlint.lower.python.LOWERINGS}


def lowered(monkeypatch: pytest.MonkeyPatch, table: dict[type[ast.AST], object], kind: type[ast.AST]) -> list[Event]:
    """The events of a function whose syntax includes a class that nothing is registered for."""
    monkeypatch.delitem(table, kind)
    text = "x = y[z]\nfor a in x: f(a)\n"
    body = gradlint.lower.python.lower(text, ast.parse(text))
    return [event for block in body.graph.blocks for event in block.events]


def test_unknown_expression_is_opaque_and_reads_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    events = lowered(monkeypatch, dispatch.EXPRESSIONS, ast.Subscript)  # type: ignore[arg-type]
    (unknown,) = [event for event in events if isinstance(event, Opaque)]
    reads = [event.name for event in events if isinstance(event, Load) and event.dst in unknown.reads]
    assert reads == ["y", "z"]
    assert unknown.writes == ()
    assert any(isinstance(event, Store) and event.src == unknown.dst for event in events)


def test_unknown_statement_is_opaque_and_havocs_what_it_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    events = lowered(monkeypatch, dispatch.STATEMENTS, ast.For)  # type: ignore[arg-type]
    (unknown,) = [event for event in events if isinstance(event, Opaque)]
    assert unknown.writes == ("a",)
    assert not any(isinstance(event, Call) for event in events)
