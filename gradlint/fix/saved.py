"""Edits of custom autograd functions and of checkpoints."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.fix import blocks
from gradlint.fix.source import NoFix, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts.functions import CheckpointCall, FunctionCall, KeptTensor, SpoiltTensor
    from gradlint.finding import Edit


def kept(source: Source, fact: KeptTensor) -> tuple[Edit, ...]:
    """Write ``ctx.save_for_backward(x)`` for ``ctx.x = x``, and ``ctx.saved_tensors[0]`` where backward reads it.

    Raises `NoFix` where other tensors are kept beside it.
    """
    node = source.place(fact.span).node
    if not fact.alone or not isinstance(node, ast.Assign) or len(node.targets) != 1:
        raise NoFix("the function keeps more than this")
    target = node.targets[0]
    if not isinstance(target, ast.Attribute) or not isinstance(target.value, ast.Name):
        raise NoFix("the function keeps more than this")
    line, column, _, _ = span_of(node)
    ctx = target.value.id
    saves = source.replace((line, column, *span_of(node.value)[:2]), f"{ctx}.save_for_backward(")
    reads = []
    for read in fact.reads:
        name = source.cut(read).partition(".")[0]
        reads.append(source.replace(read, f"{name}.saved_tensors[0]"))
    return (saves, source.behind(node.value, ")"), *reads)


def applied(source: Source, fact: FunctionCall) -> tuple[Edit, ...]:
    """Write ``Fn.apply(x)`` for ``Fn()(x)`` and for ``Fn.forward(None, x)``. Raises `NoFix` for other forms."""
    if fact.made is None or fact.cls is None:
        raise NoFix("what is called has no name here")
    _, _, line, column = fact.cls
    edits = [source.replace((line, column, *fact.made[2:]), ".apply")]
    if fact.form == "called":
        return tuple(edits)
    call = next((node for node in reversed(source.path(fact.span)) if isinstance(node, ast.Call)), None)
    if fact.form != "forward" or call is None or len(call.args) < 2:
        raise NoFix("only a call can be written otherwise")
    edits.append(source.replace((*span_of(call.args[0])[:2], *span_of(call.args[1])[:2]), ""))
    return tuple(edits)


def marked(source: Source, fact: SpoiltTensor) -> tuple[Edit, ...]:
    """Write ``ctx.mark_dirty(x)`` in front of an edit. Raises `NoFix` where the input is not returned."""
    if not fact.returned:
        raise NoFix("torch refuses the mark of an input that is not returned")
    return (blocks.inserted(source, source.place(fact.span).node, f"{source.cut(fact.at)}.mark_dirty({fact.name})"),)


def cloned(source: Source, fact: SpoiltTensor) -> tuple[Edit, ...]:
    """Write ``x = x.clone()`` in front of an edit."""
    if not fact.name.isidentifier():
        raise NoFix("what is edited has no name")
    return (blocks.inserted(source, source.place(fact.span).node, f"{fact.name} = {fact.name}.clone()"),)


def not_reentrant(source: Source, fact: CheckpointCall) -> tuple[Edit, ...]:
    """Write ``use_reentrant=False``."""
    call = next((node for node in reversed(source.path(fact.span)) if isinstance(node, ast.Call)), None)
    if call is None or span_of(call) != fact.span:
        raise NoFix("the call is not found")
    given = next((keyword for keyword in call.keywords if keyword.arg == "use_reentrant"), None)
    if given is not None:
        return (source.replace(span_of(given.value), "False"),)
    last = max([*call.args, *(keyword.value for keyword in call.keywords)], key=span_of)
    return (source.behind(last, ", use_reentrant=False"),)
