"""Conditions that turn gradients off exactly where they are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Context, Obj, Value
from gradlint.facts.modes import Inverted
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.events import Ref, Span
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

WANTED = re.compile(
    r"^(?:is_|self_)?(?:(?:requires?|needs?|with|enable|compute|track|want|use|keep|allow)_?grad(?:ient)?s?"
    r"(?:_enabled)?|grad(?:ient)?s?_(?:required|needed|wanted)|train|training|is_train|is_training|train_mode"
    r"|do_train|backprop(?:agate)?|differentiable)$"
)
"""Names of conditions under which gradients are wanted."""
UNWANTED = re.compile(
    r"^(?:is_|use_|do_|with_)?(?:no_grad|eval|evaluate|evaluating|evaluation|eval_mode|inference|infer|test|testing"
    r"|test_mode|inference_mode|disable_grad|without_grad)$"
)
"""Names of conditions under which they are not."""
OFF = frozenset({"torch.no_grad", "torch.inference_mode"})
ON = frozenset({"torch.enable_grad", "contextlib.nullcontext"})


def inverted(definitions: Definitions, run: Run) -> Iterator[Inverted]:
    """Yield the contexts of one body that stand on the wrong side of their condition, in source order."""
    found = {fact.span: fact for fact in (*choices(definitions, run), *flags(definitions, run))}
    yield from sorted(found.values(), key=lambda fact: fact.span)


def condition(definitions: Definitions, run: Run, ref: Ref, truth: bool) -> tuple[str, bool]:
    """How the source calls a condition, without the ``not`` in front, and what it is taken to be."""
    event = definitions.makers.get(ref)
    if isinstance(event, ir.Unary) and event.op == "not":
        return condition(definitions, run, event.src, not truth)
    if isinstance(event, (ir.Load, ir.Attr)):
        return run.labels[event.dst], truth
    return "", truth


def choices(definitions: Definitions, run: Run) -> Iterator[Inverted]:
    """``no_grad() if gradients_required else nullcontext()``, also as two assignments, to an attribute as well."""
    sides: dict[tuple[Ref, object], dict[bool, tuple[Value, Span]]] = {}
    for block in run.body.graph.blocks:
        first = block.events[0] if block.events else None
        if not isinstance(first, ir.Assume) or first.cond < 0:
            continue
        for event in block.events:
            if isinstance(event, (ir.Copy, ir.Store, ir.SetAttr)) and event.src >= 0:
                value = run.temps[event.src]
                if is_context(value):
                    sides.setdefault((first.cond, target_of(run, event)), {})[first.truth] = value, event.span
    for (cond, _), both in sides.items():
        if len(both) < 2:
            continue
        for truth in (True, False):
            if is_any(both[truth][0], OFF) and is_any(both[not truth][0], ON):
                name, taken = condition(definitions, run, cond, truth)
                if contradicts(name, taken):
                    only = next(iter(both[truth][0]))
                    span = only.span if isinstance(only, Context) else both[truth][1]
                    yield Inverted(span, names(both[truth][0]), name, taken, "choice")


def target_of(run: Run, event: ir.Copy | ir.Store | ir.SetAttr) -> object:
    """What is assigned: a temporary, a variable, or an attribute as the source calls it."""
    if isinstance(event, ir.SetAttr):
        return f"{run.labels[event.obj]}.{event.name}"
    return event.dst if isinstance(event, ir.Copy) else event.name


def flags(definitions: Definitions, run: Run) -> Iterator[Inverted]:
    """``set_grad_enabled(not training)`` and ``set_grad_enabled(evaluate)``."""
    for event in definitions.events(ir.Call):
        if event.func < 0 or len(event.args) != 1:
            continue
        if {atom.name if isinstance(atom, Api) else "" for atom in run.temps[event.func]} == {"torch.set_grad_enabled"}:
            name, on = condition(definitions, run, event.args[0], True)
            if contradicts(name, not on):
                yield Inverted(event.span, "torch.set_grad_enabled", name, not on, "flag")


def contradicts(name: str, truth: bool) -> bool:
    """Whether gradients are wanted where what is called ``name`` is ``truth``."""
    last = name.rpartition(".")[2]
    return bool(last) and ((WANTED if truth else UNWANTED).match(last) is not None)


def is_context(value: Value) -> bool:
    """Whether a value is a context that switches gradients, or one that does nothing."""
    return is_any(value, OFF) or is_any(value, ON)


def is_any(value: Value, known: frozenset[str]) -> bool:
    """Whether a value is a context of one of some types, or its class, for certain."""
    return bool(value) and all(named(atom) in known and getattr(atom, "flag", None) is not False for atom in value)


def named(atom: object) -> str:
    """The canonical name of a context or of its class."""
    if isinstance(atom, Api):
        return atom.name
    return atom.type if isinstance(atom, Obj) else ""


def names(value: Value) -> str:
    """The context as a message shows it."""
    return sorted(named(atom) for atom in value)[0]
