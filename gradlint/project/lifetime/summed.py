"""Sums of all that a dict or a list holds: `sum(losses.values())`, also with a weight for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

MOST_STEPS = 6
"""How many steps from a sum to what is summed up are looked through."""


def summed(tracer: Tracer, run: Run, behind: list[ir.Event]) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """The results of calls among what is ``behind`` a pass, all of whose items it walks."""
    known = tracer.definitions(run.body)
    for event in behind:
        if isinstance(event, ir.Call) and event.args and is_sum(tracer, run.body, event):
            ref = weighted(tracer, known, event.args[0]) or items_of(known, event.args[0])
            maker = known.makers.get(ref) if ref is not None else None
            if ref is not None and isinstance(maker, ir.Call):
                yield ref, maker


def is_sum(tracer: Tracer, body: Body, call: ir.Call) -> bool:
    """Whether a call is one of Python's own `sum`."""
    callees = tracer.value(body, call.func)
    return bool(callees) and all(isinstance(atom, Api) and atom.name == "builtins.sum" for atom in callees)


def items_of(known: Definitions, ref: ir.Ref) -> ir.Ref | None:
    """What is summed up as a whole: a container, its values, or each of them in turn."""
    for _ in range(MOST_STEPS):
        maker = known.makers.get(ref)
        if isinstance(maker, ir.Load):
            only = known.only(maker)
            if only is None:
                return None
            ref = only.src
        elif isinstance(maker, ir.MakeFunction) and maker.body.kind == "genexp" and is_each(maker.body):
            ref = dict(maker.defaults).get(".0", ir.OPAQUE_REF)
        elif isinstance(maker, ir.Iterate):
            ref = maker.src
        elif isinstance(maker, ir.Call) and isinstance(method := known.makers.get(maker.func), ir.Attr):
            if method.name != "values":
                return ref
            ref = method.obj
        else:
            return ref if maker is not None else None
    return None


def is_each(body: Body) -> bool:
    """Whether a generator expression hands out each item as it is, or a part of it: ``loss for loss in losses``."""
    makes = (ir.Call, ir.Binary, ir.Unary, ir.Assume, ir.Attr)
    return not any(isinstance(event, makes) for event in body.graph.events())


def weighted(tracer: Tracer, known: Definitions, ref: ir.Ref) -> ir.Ref | None:
    """The dict of losses in `sum(losses[name] * weights[name] for name in losses if name in weights)`.

    It is what a call returned; the weights are not.
    """
    maker = known.makers.get(ref)
    while isinstance(maker, (ir.Iterate, ir.Copy)):
        maker = known.makers.get(maker.src)
    if isinstance(maker, ir.Call) and maker.args:
        maker = known.makers.get(maker.args[0])
    if not isinstance(maker, ir.MakeFunction) or maker.body.kind != "genexp":
        return None
    inner = tracer.definitions(maker.body)
    found = [ref for name in looked_up(inner) for ref in results(known, name)]
    return found[0] if len(found) == 1 else None


def looked_up(inner: Definitions) -> Iterator[str]:
    """The variables around a generator expression of which it hands out items, each times another thing."""
    for out in inner.events(ir.Yield):
        product = inner.makers.get(out.src) if out.src is not None else None
        sides = (product.left, product.right) if isinstance(product, ir.Binary) and product.op == "*" else ()
        for side in sides:
            item = inner.makers.get(side)
            held = inner.makers.get(item.obj) if isinstance(item, ir.Item) else None
            if isinstance(held, ir.Load) and held.name not in inner.stores:
                yield held.name


def results(known: Definitions, name: str) -> Iterator[ir.Ref]:
    """The result of a call that a variable holds, if that is all that it ever holds."""
    stores = known.stores.get(name, [])
    if len(stores) == 1 and isinstance(known.makers.get(stores[0].src), ir.Call):
        yield stores[0].src
