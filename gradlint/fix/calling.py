"""Edits of what is called."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.functions import DirectForward


def through_hooks(source: Source, fact: DirectForward) -> tuple[Edit, ...]:
    """Call a module rather than its ``forward``."""
    method = source.at(fact.method, ast.Attribute)
    _, _, line, column = span_of(method.value)
    _, _, end_line, end_column = span_of(method)
    if line != end_line or source.cut((line, column, end_line, end_column)) != f".{method.attr}":
        raise NoFix("something stands between the module and its method")
    return (source.replace((line, column, end_line, end_column), ""),)
