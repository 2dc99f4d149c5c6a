"""Edits of conditions."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.modes import Inverted


def negated(source: Source, fact: Inverted) -> tuple[Edit, ...]:
    """Negate the condition that chooses a gradient mode. Raises `NoFix` where it is not part of one expression."""
    node = source.at(fact.span, ast.Call)
    if fact.form == "flag":
        return (_negated(source, node.args[0]),)
    around = [each for each in source.path(fact.span) if isinstance(each, ast.IfExp)]
    if not around or node not in (around[-1].body, around[-1].orelse):
        raise NoFix("two assignments choose the context")
    return (_negated(source, around[-1].test),)


def _negated(source: Source, test: ast.expr) -> Edit:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return source.replace(span_of(test), source.of(test.operand))
    if not isinstance(test, (ast.Name, ast.Attribute)):
        raise NoFix("the condition is no name")
    return source.replace(span_of(test), f"not {source.of(test)}")
