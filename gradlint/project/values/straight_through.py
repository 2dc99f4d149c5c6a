"""Straight-through estimates: ``x + (q - x).detach()`` has the value of ``q`` and hands its gradient to ``x``.

Whoever writes one says that ``x`` is on the graph, whoever may have made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.torch_model import cuts

if TYPE_CHECKING:
    from gradlint.project.values.definitions import Definitions


def estimates(known: Definitions) -> Iterator[tuple[ir.Binary, ir.Ref, ir.Binary]]:
    """The estimates in a body: the sum, what the gradient is handed to, and the difference that is detached."""
    for total in known.events(ir.Binary):
        sides = {"+": ((total.left, total.right), (total.right, total.left)), "-": ((total.left, total.right),)}
        for through, cut in sides.get(total.op, ()):
            difference = detached(known, cut)
            if difference is not None:
                yield total, through, difference


def detached(known: Definitions, ref: ir.Ref) -> ir.Binary | None:
    """The difference that is taken off the graph just here: ``(q - x).detach()``, ``(q - x).data``."""
    maker = known.makers.get(ref)
    method = known.makers.get(maker.func) if isinstance(maker, ir.Call) else maker
    if not isinstance(method, ir.Attr) or method.name not in cuts():
        return None
    inner = known.makers.get(method.obj)
    return inner if isinstance(inner, ir.Binary) and inner.op == "-" else None
