"""Edits of how a gradient-mode context is called."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts import ContextMisuse
    from gradlint.facts.modes import CachedCast


def called(source: Source, misuse: ContextMisuse) -> tuple[Edit, ...]:
    """Add the parentheses to a context that is entered without a call."""
    if misuse.context.endswith("set_grad_enabled"):
        raise NoFix("which mode is meant is not known")
    name = source.at(misuse.span, ast.expr)
    if not isinstance(name, (ast.Name, ast.Attribute)):
        raise NoFix("the context is no name")
    return (source.behind(name, "()"),)


def emptied(source: Source, misuse: ContextMisuse) -> tuple[Edit, ...]:
    """Drop the argument of a context that takes none, in the header of a block; a constant may mean the contrary."""
    call = source.at(misuse.span, ast.Call)
    block = source.place(misuse.span).node
    headers = [item.context_expr for item in block.items] if isinstance(block, ast.With) else []
    if call not in headers or len(call.args) != 1 or call.keywords or not misuse.context.endswith("no_grad"):
        raise NoFix("what is meant is not known")
    if not isinstance(call.args[0], (ast.Name, ast.Attribute)) or not _is_module(misuse):
        raise NoFix("the argument may be meant as a flag")
    return (source.replace(span_of(call.args[0]), ""),)


def _is_module(misuse: ContextMisuse) -> bool:
    return misuse.detail.rpartition(".")[2] in ("model", "net", "module", "network", "encoder", "decoder", "backbone")


def without_cache(source: Source, fact: CachedCast) -> tuple[Edit, ...]:
    """Call the autocast of a region with its cache off."""
    call = source.at(fact.region, ast.Call)
    text = source.of(call)
    inside = text[:-1].rstrip()
    gap = "" if inside.endswith("(") else " " if inside.endswith(",") else ", "
    return (source.replace(fact.region, f"{inside}{gap}cache_enabled=False)"),)


def as_bool(source: Source, misuse: ContextMisuse) -> tuple[Edit, ...]:
    """Turn an argument that only counts as true or false into a bool."""
    call = source.at(misuse.span, ast.Call)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if len(given) != 1:
        raise NoFix("the argument is missing")
    argument = given[0]
    if isinstance(argument, ast.Constant) and argument.value in (0, 1) and isinstance(argument.value, int):
        return (source.replace(span_of(argument), str(bool(argument.value))),)
    if isinstance(argument, ast.Call):
        return (source.replace(span_of(argument), f"bool({source.of(argument)})"),)
    raise NoFix("what is meant is not known")
