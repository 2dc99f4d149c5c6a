"""Assignments that keep what was there: sums, lists that are joined, and what the first iteration alone assigns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block
    from gradlint.project.values.definitions import Definitions

MOST_BLOCKS = 8
"""How far above an assignment its condition is looked for."""
MOST_PARTS = 40
"""How many parts of what is assigned are looked at."""
CLEARING = frozenset({"clear", "pop", "popleft"})
"""Methods that empty a container."""


def begins(known: Definitions, store: ir.Event) -> bool:
    """Whether an assignment runs in the first iteration only, by the condition that it stands under."""
    block: Block | None = known.blocks[store]
    loops = known.loops(store)
    for _ in range(MOST_BLOCKS):
        if block is None or block.loops != loops:
            return False
        first = block.events[0] if block.events else None
        if isinstance(first, ir.Assume):
            return asks_for_first(known, first.cond, truth=first.truth)
        block = only_before(known, block)
    return False


def only_before(known: Definitions, block: Block) -> Block | None:
    """The one block from which ``block`` is reached, if it is one."""
    before = [other for other in known.body.graph.blocks if block.index in other.successors]
    return before[0] if len(before) == 1 else None


def asks_for_first(known: Definitions, ref: ir.Ref, *, truth: bool) -> bool:
    """Whether a condition of this truth holds in the first iteration only: of something that is None, zero or empty."""
    event = known.makers.get(ref)
    if isinstance(event, ir.Unary) and event.op == "not":
        return asks_for_first(known, event.src, truth=not truth)
    if isinstance(event, (ir.Load, ir.Attr)):
        return not truth
    if isinstance(event, ir.Call):
        return not truth and is_length(known, event)
    if not isinstance(event, ir.Compare):
        return False
    right, left = known.makers.get(event.right), known.makers.get(event.left)
    if event.op in ("is", "is not"):
        return isinstance(right, ir.Const) and right.value is None and truth == (event.op == "is")
    if event.op in ("==", "!="):
        counts = isinstance(left, (ir.Load, ir.Attr)) or (isinstance(left, ir.Call) and is_length(known, left))
        return counts and isinstance(right, ir.Const) and right.value in (0, None) and truth == (event.op == "==")
    return False


def is_length(known: Definitions, call: ir.Call) -> bool:
    """Whether a call asks for the length of something, or for how many values it has."""
    func = known.makers.get(call.func)
    return isinstance(func, (ir.Load, ir.Attr)) and func.name in ("len", "numel")


def overwrites(known: Definitions, event: ir.Event) -> bool:
    """Whether ``container["name"] = value`` throws away what was there: the key is always the same."""
    if not isinstance(event, ir.SetItem) or not isinstance(known.makers.get(event.key), ir.Const):
        return False
    if isinstance(known.makers.get(event.obj), ir.Item):
        return False
    return not adds_to(known, event)


def emptied(known: Definitions, name: str) -> Iterator[ir.Event]:
    """The events of a body that assign or empty the attribute ``name``, whatever was there before."""
    for event in known.events(ir.SetAttr):
        if event.name == name and not isinstance(known.makers.get(event.src), ir.Augment) and not adds_to(known, event):
            yield event
    for method in known.attributes:
        maker = known.makers.get(method.obj)
        if method.name in CLEARING and isinstance(maker, ir.Attr) and maker.name == name:
            yield method


def adds_to(known: Definitions, event: ir.SetAttr | ir.SetItem) -> bool:
    """Whether what is assigned is computed from what was in the same place: ``self.x = self.x + value``."""
    place = spelled(known, event)
    pending, seen = [event.src], set[ir.Ref]()
    while pending and len(seen) < MOST_PARTS:
        ref = pending.pop()
        maker = known.makers.get(ref)
        if ref in seen or maker is None:
            continue
        seen.add(ref)
        if isinstance(maker, (ir.Attr, ir.Item)) and spelled(known, maker) == place:
            return True
        if isinstance(maker, ir.Call) and looked_up(known, maker) == place:
            return True
        pending += parts(known, maker, ref)
    return False


def looked_up(known: Definitions, call: ir.Call) -> tuple[object, ...]:
    """How the source writes the place that a call reads: ``sums.get("loss", 0)``; nothing for any other call."""
    method = known.makers.get(call.func)
    if not isinstance(method, ir.Attr) or method.name != "get" or not call.args:
        return ()
    return (*spelled_ref(known, method.obj), *spelled_ref(known, call.args[0]))


def parts(known: Definitions, maker: ir.Event, ref: ir.Ref) -> list[ir.Ref]:
    """What arithmetic, a call or a list is made of; the parts of a conditional expression."""
    if isinstance(maker, ir.Augment):
        return [maker.target]
    if isinstance(maker, ir.Binary):
        return [maker.left, maker.right]
    if isinstance(maker, ir.Copy):
        return [copy.src for copy in known.events(ir.Copy) if copy.dst == ref]
    if isinstance(maker, ir.Build) and maker.kind in ("list", "tuple"):
        return list(maker.items)
    if isinstance(maker, ir.Item):
        return [maker.obj]
    if isinstance(maker, ir.Call):
        method = known.makers.get(maker.func)
        return [*maker.args, *((method.obj,) if isinstance(method, ir.Attr) else ())]
    return []


def spelled(known: Definitions, event: ir.Event) -> tuple[object, ...]:
    """How the source writes a place: ``("self", ".total")``, ``("sums", "loss")``."""
    if isinstance(event, ir.Load):
        return (event.name,)
    if isinstance(event, ir.Const):
        return (event.value,)
    if isinstance(event, ir.Unary):
        return (event.op, *spelled_ref(known, event.src))
    if isinstance(event, (ir.Attr, ir.SetAttr)):
        return (*spelled_ref(known, event.obj), f".{event.name}")
    if isinstance(event, (ir.Item, ir.SetItem)):
        return (*spelled_ref(known, event.obj), *spelled_ref(known, event.key))
    return (event,)


def spelled_ref(known: Definitions, ref: ir.Ref) -> tuple[object, ...]:
    """As `spelled`, of what a temporary is."""
    maker = known.makers.get(ref)
    return spelled(known, maker) if maker is not None else (ref,)
