"""What the source takes out of a tensor, or off the graph, just before it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.torch_model import numpy_cuts, scalar_cuts

if TYPE_CHECKING:
    from gradlint.project.values.definitions import Definitions

MOST_STEPS = 12
"""How many steps from a value to what it was made of are looked through."""


def is_number(known: Definitions, ref: ir.Ref) -> bool:
    """Whether something was just taken out of a tensor, or off the graph: `loss.item() * count`."""
    pending = [ref]
    for _ in range(MOST_STEPS):
        maker = known.makers.get(pending.pop()) if pending else None
        if isinstance(maker, ir.Load):
            pending += [store.src for store in known.assigning(maker)]
        elif isinstance(maker, ir.Copy):
            pending += [copy.src for copy in known.events(ir.Copy) if copy.dst == maker.dst]
        elif isinstance(maker, ir.Binary):
            pending += [maker.left, maker.right]
        elif isinstance(maker, ir.Item):
            pending.append(maker.obj)
        elif isinstance(maker, ir.Attr) and maker.name == "data":
            return True
        elif isinstance(maker, ir.Call):
            func = known.makers.get(maker.func)
            if isinstance(func, ir.Attr) and (func.name == "detach" or func.name in scalar_cuts() | numpy_cuts()):
                return True
            if isinstance(func, ir.Load) and func.name == "float":
                return True
            pending += [func.obj] if isinstance(func, ir.Attr) else []
    return False


def is_rewritten(known: Definitions, ref: ir.Ref) -> bool:
    """Whether what a dict holds is replaced by numbers, each under its key: `logs[key] = loss.item()`."""
    held = known.makers.get(ref)
    if not isinstance(held, ir.Load):
        return False
    for event in known.events(ir.SetItem):
        holder, key = known.makers.get(event.obj), known.makers.get(event.key)
        same = isinstance(holder, ir.Load) and holder.name == held.name
        if same and not isinstance(key, ir.Const) and is_number(known, event.src):
            return True
    return False
