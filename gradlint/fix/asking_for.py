"""Edits of the flags and the parentheses of calls about a backward pass."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts import OddPass


def recorded(source: Source, odd: OddPass) -> tuple[Edit, ...]:
    """Ask a gradient for its graph."""
    call = source.at(odd.span, ast.Call)
    for keyword in call.keywords:
        if keyword.arg == "create_graph":
            return (source.replace(span_of(keyword.value), "True"),)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not given:
        raise NoFix("the call has no arguments")
    return (source.behind(given[-1], ", create_graph=True"),)


def freed(source: Source, odd: OddPass) -> tuple[Edit, ...]:
    """Let a backward pass free its graph."""
    for keyword in source.at(odd.span, ast.Call).keywords:
        if keyword.arg == "retain_graph":
            return (source.replace(span_of(keyword.value), "False"),)
    raise NoFix("the flag is given by position")


def constructed(source: Source, odd: OddPass) -> tuple[Edit, ...]:
    """Make a loss before it is called."""
    return (source.behind(source.at(odd.span, ast.Call).func, "()"),)


def without_anomalies(source: Source, odd: OddPass) -> tuple[Edit, ...]:
    """Switch anomaly detection off."""
    call = source.at(odd.span, ast.Call)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return (source.replace(span_of(given[0]), "False"),)


def detached(source: Source, odd: OddPass) -> tuple[Edit, ...]:
    """Take what is saved off the graph."""
    value = source.at(odd.span, ast.expr)
    if not isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        raise NoFix("what is saved is no name")
    return (source.behind(value, ".detach()"),)
