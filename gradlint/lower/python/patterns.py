"""Lowering ``match``: which case matches is unknown, but captures bind what they capture."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.ir.events import Attr, Item, Ref, Store
from gradlint.lower.python.branches import condition
from gradlint.lower.python.dispatch import span_of, statement, suite
from gradlint.lower.python.expressions import opaque, value_of
from gradlint.lower.python.frames import Label
from gradlint.lower.python.targets import unpack

if TYPE_CHECKING:
    from gradlint.lower.python.graph import GraphBuilder


@statement("Match")
def _match(builder: GraphBuilder, node: ast.Match) -> None:
    subject = value_of(builder, node.subject)
    after = Label()
    for case in node.cases:
        certain = _always_matches(case.pattern)
        no_match = Label()
        if not certain:
            no_match.pending.append(builder.block)
            builder.start_block()
        _capture(builder, case.pattern, subject)
        if case.guard is not None:
            matched = Label()
            condition(builder, case.guard, matched, no_match)
            builder.place(matched)
        suite(builder, case.body)
        builder.goto(after)
        if not builder.place(no_match):
            break
    builder.goto(after)
    builder.place(after)


def _always_matches(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_always_matches, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _always_matches(pattern.pattern))


def _capture(builder: GraphBuilder, pattern: ast.pattern, subject: Ref) -> None:
    """Evaluates the values of a pattern that has matched ``subject`` and binds its captures."""
    capture = CAPTURES.get(pattern.__class__)
    if capture is not None:
        capture(builder, pattern, subject)


def _capture_value(builder: GraphBuilder, pattern: ast.MatchValue, subject: Ref) -> None:
    value_of(builder, pattern.value)


def _capture_as(builder: GraphBuilder, pattern: ast.MatchAs, subject: Ref) -> None:
    if pattern.pattern is not None:
        _capture(builder, pattern.pattern, subject)
    if pattern.name is not None:
        builder.events.append(Store(span_of(pattern), pattern.name, subject))


def _capture_star(builder: GraphBuilder, pattern: ast.MatchStar, subject: Ref) -> None:
    if pattern.name is not None:
        builder.events.append(Store(span_of(pattern), pattern.name, subject))


def _capture_parts(builder: GraphBuilder, pattern: ast.MatchSequence, subject: Ref) -> None:
    for part, ref in zip(pattern.patterns, unpack(builder, pattern.patterns, subject, ast.MatchStar), strict=True):
        _capture(builder, part, ref)


def _capture_items(builder: GraphBuilder, pattern: ast.MatchMapping, subject: Ref) -> None:
    for key_node, part in zip(pattern.keys, pattern.patterns, strict=True):
        key = value_of(builder, key_node)
        ref = builder.new_ref()
        builder.events.append(Item(span_of(part), ref, subject, key))
        _capture(builder, part, ref)
    if pattern.rest is not None:
        span = span_of(pattern)
        builder.events.append(Store(span, pattern.rest, opaque(builder, span)))


def _capture_attributes(builder: GraphBuilder, pattern: ast.MatchClass, subject: Ref) -> None:
    value_of(builder, pattern.cls)
    for part in pattern.patterns:
        _capture(builder, part, opaque(builder, span_of(part)))
    for name, part in zip(pattern.kwd_attrs, pattern.kwd_patterns, strict=True):
        ref = builder.new_ref()
        builder.events.append(Attr(span_of(part), ref, subject, name))
        _capture(builder, part, ref)


def _capture_alternatives(builder: GraphBuilder, pattern: ast.MatchOr, subject: Ref) -> None:
    source, join = builder.block, Label()
    for alternative in pattern.patterns:
        builder.at(source)
        builder.start_block()
        _capture(builder, alternative, subject)
        builder.goto(join)
    builder.place(join)


CAPTURES: dict[type[ast.pattern], Callable[[GraphBuilder, Any, Ref], None]] = {
    ast.MatchValue: _capture_value,
    ast.MatchAs: _capture_as,
    ast.MatchStar: _capture_star,
    ast.MatchSequence: _capture_parts,
    ast.MatchMapping: _capture_items,
    ast.MatchClass: _capture_attributes,
    ast.MatchOr: _capture_alternatives,
}
"""How each kind of pattern binds; the others (``None``, ``True``, ``False``) bind nothing."""
