"""Edits that put modules into train or eval mode."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix import blocks
from gradlint.fix.source import NoFix, Source, here, span_of

if TYPE_CHECKING:
    from gradlint.facts.modes import NoisyInference, NotCalled, StuckInEval


def called(source: Source, fact: NotCalled) -> tuple[Edit, ...]:
    """Call the method that a statement names, or that an assignment stands for."""
    if fact.form == "named":
        return (source.replace(fact.span, fact.instead),)
    node = source.place(fact.span).node
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not _is_path(fact.instead.removesuffix("()")):
        raise NoFix("several things are assigned")
    return (source.replace(span_of(node), fact.instead),)


def evaluated(source: Source, fact: NoisyInference) -> tuple[Edit, ...]:
    """Put a module in eval mode in front of the block that turns gradients off. Raises `NoFix` without such a block."""
    if not fact.because or not _is_path(fact.module):
        raise NoFix("the block is not visible")
    place = source.place(here(fact.because[0][0]))
    if not isinstance(place.node, ast.With):
        raise NoFix("the block is not visible")
    return (blocks.inserted(source, place.node, f"{fact.module}.eval()"),)


def trained(source: Source, fact: StuckInEval) -> tuple[Edit, ...]:
    """Put a module back in train mode where the loop begins that trains it. Raises `NoFix` if that is not visible."""
    place = source.place(fact.span)
    loops = [node for node in place.around if isinstance(node, (ast.For, ast.While))]
    if not loops or not _is_path(fact.module):
        raise NoFix("the loop is not visible")
    backward = here(fact.because[0][0])
    inner = next((loop for loop in reversed(loops) if loop in source.path(backward)), None)
    if inner is None:
        raise NoFix("the loop is not visible")
    return (blocks.inserted(source, inner.body[0], f"{fact.module}.train()"),)


def _is_path(text: str) -> bool:
    return bool(text) and all(part.isidentifier() for part in text.split("."))
