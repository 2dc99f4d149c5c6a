"""What each event does with a value that is on its way (see `gradlint.project.values.uses`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode
from gradlint.domains.values import TENSOR, Api, Obj
from gradlint.ir import events as ir
from gradlint.project.lifetime.growing import adds_to, begins
from gradlint.project.lifetime.numbers import is_rewritten
from gradlint.project.values import call_uses, uses
from gradlint.torch_model import indices_second, roles
from gradlint.torch_model.attributes import tensor_properties

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer, Walk


def ignore(walk: Walk, body: Body, event: ir.Event, ref: ir.Ref) -> None:
    """An event that does nothing with the value."""


def result(walk: Walk, body: Body, event: Any, ref: ir.Ref) -> None:
    """The result stands on the graph as the value does."""
    walk.to(body, event.dst)


def computed(walk: Walk, body: Body, event: Any, ref: ir.Ref) -> None:
    """An operator makes something new."""
    walk.compute(body, event, event.dst)


def compared(walk: Walk, body: Body, event: ir.Compare, ref: ir.Ref) -> None:
    """A comparison gives a bool tensor, off the graph."""
    if event.op not in ("is", "is not", "in", "not in"):
        walk.use(uses.OFF, body, event, f"`{event.op}`")


def unary(walk: Walk, body: Body, event: ir.Unary, ref: ir.Ref) -> None:
    """An arithmetic operator keeps the graph."""
    if event.op != "not":
        walk.compute(body, event, event.dst)


def stored(walk: Walk, body: Body, event: ir.Store, ref: ir.Ref) -> None:
    """A variable gets the value; one that is computed from itself in a loop holds the graphs of all iterations."""
    if event.name in body.global_names or event.name in body.nonlocal_names:
        walk.use(uses.STORED, body, event, event.name)
    node: uses.Node = ("def", body, event)
    known = walk.tracer.definitions(body)
    is_call = isinstance(known.makers.get(event.src), ir.Call)
    other = is_call and (roles.FIGURES.search(event.name) or roles.TEXTS.search(event.name))
    walk.reach(node, sure=walk.sure and not other)
    loops = known.loops(event)
    if not loops or event not in known.loads:
        return
    for load in known.loads[event]:
        others = [store for store in known.assigning(load) if store is not event]
        # What the first iteration alone assigns takes nothing away.
        around = [known.loops(store)[:-1] if begins(known, store) else known.loops(store) for store in others]
        if (
            not around
            or not uses.is_update(known, event, event.name)
            or isinstance(known.makers.get(event.src), ir.Augment)
        ):
            continue
        if node in walk.tracer.trace(("ref", body, load.dst)).nodes:
            outlived = frozenset(loop for loop in loops if all(loop not in born for born in around))
            walk.use(uses.KEPT, body, event, event.name, loops=outlived, holder=node)
            return


def attribute(walk: Walk, body: Body, event: ir.Attr, ref: ir.Ref) -> None:
    """A part of the value, or one of its methods."""
    if event.name == "data":
        walk.use(uses.OFF, body, event, "`.data`")
    elif event.name == "indices" and (paired := values_and_indices(walk.tracer, body, ref)):
        walk.use(uses.OFF, body, event, f"the indices of `{paired}(...)`")
    elif event.name not in tensor_properties() or event.name in ("T", "mT", "H", "real", "imag"):
        walk.to(body, event.dst)


def item(walk: Walk, body: Body, event: ir.Item, ref: ir.Ref) -> None:
    """A part of the value; as an index the value is only looked at."""
    if event.obj != ref:
        return
    key = walk.tracer.definitions(body).makers.get(event.key)
    paired = values_and_indices(walk.tracer, body, ref) if isinstance(key, ir.Const) and key.value in (1, -1) else ""
    if paired:
        walk.use(uses.OFF, body, event, f"the indices of `{paired}(...)`")
    else:
        walk.to(body, event.dst)


def values_and_indices(tracer: Tracer, body: Body, ref: ir.Ref) -> str:
    """The operation that made a pair of values and of where they stand; empty if a temporary is no such pair.

    Without an axis some of them return a tensor, the second row of which is on the graph.
    """
    known = tracer.definitions(body)
    maker = known.makers.get(ref)
    if isinstance(maker, ir.Load):
        only = known.only(maker)
        maker = known.makers.get(only.src) if only is not None else None
    method = known.makers.get(maker.func) if isinstance(maker, ir.Call) else None
    if not isinstance(maker, ir.Call) or not isinstance(method, ir.Attr) or method.name not in indices_second():
        return ""
    of_torch = any(isinstance(atom, Api) for atom in tracer.value(body, maker.func))
    axes = (*maker.args[of_torch:], *(ref for name, ref in maker.keywords if name in ("dim", "axis")))
    return method.name if axes or method.name in ("sort", "topk", "mode") else ""


def build(walk: Walk, body: Body, event: ir.Build, ref: ir.Ref) -> None:
    """The value becomes part of a container; a comprehension collects one of each iteration."""
    if event.kind in ("string", "slice") or ref not in event.items:
        return
    walk.to(body, event.dst)
    known = walk.tracer.definitions(body)
    maker = known.makers.get(ref)
    comprehended = set(known.loops(maker)) - set(known.loops(event)) if maker is not None else set()
    if comprehended:
        stores = [reader.name for reader in known.readers.get(event.dst, ()) if isinstance(reader, ir.Store)]
        walk.use(uses.KEPT, body, event, stores[0] if stores else f"the {event.kind}", loops=frozenset(comprehended))


def augmented(walk: Walk, body: Body, event: ir.Augment, ref: ir.Ref) -> None:
    """The value is changed, or added to something."""
    walk.to(body, event.dst)
    if event.value == ref and event.op in ("+", "-"):
        walk.hold(body, event.target, event, walk.tracer.label(body, event.target))


def made_function(walk: Walk, body: Body, event: ir.MakeFunction, ref: ir.Ref) -> None:
    """The value is the default of a parameter."""
    for name, default in event.defaults:
        if default == ref:
            walk.reach(("param", event.body, name), sure=walk.sure)


def set_attribute(walk: Walk, body: Body, event: ir.SetAttr, ref: ir.Ref) -> None:
    """The value is stored in an attribute."""
    if event.src != ref or isinstance(walk.tracer.definitions(body).makers.get(event.src), ir.Augment):
        return
    if event.name == "data":
        walk.use(uses.OFF, body, event, "`.data`")
        return
    owner = uses.owner_of(walk.tracer, body, event.obj)
    node: uses.Node | None = ("attr", owner, event.name) if owner is not None else None
    if node is not None:
        walk.reach(node, sure=walk.sure)
    label = f"{walk.tracer.label(body, event.obj)}.{event.name}"
    walk.use(uses.STORED, body, event, label, holder=node)
    known = walk.tracer.definitions(body)
    if node is not None and adds_to(known, event):
        walk.use(uses.KEPT, body, event, label, loops=frozenset(known.loops(event)), holder=node)


def set_item(walk: Walk, body: Body, event: ir.SetItem, ref: ir.Ref) -> None:
    """The value is stored in a container, or written into a tensor; with gradients off, that takes no graph along."""
    if event.src != ref or isinstance(walk.tracer.definitions(body).makers.get(event.src), ir.Augment):
        return
    target = walk.tracer.value(body, event.obj)
    is_tensor = bool(target) and all(isinstance(atom, Obj) and atom.type == TENSOR for atom in target)
    if is_tensor and grad_mode.never_records(walk.tracer.modes(body, event)):
        walk.use(uses.OFF, body, event, uses.GUARDED)
    else:
        walk.hold(body, event.obj, event, f"{walk.tracer.label(body, event.obj)}[...]")


def opaque(walk: Walk, body: Body, event: ir.Opaque, ref: ir.Ref) -> None:
    """Syntax that is not modelled gets the value."""
    walk.use(uses.PASSED, body, event, "")
    walk.to(body, event.dst, sure=False)


def handed_out(walk: Walk, body: Body, event: ir.Yield, ref: ir.Ref) -> None:
    """A generator hands the value out; a generator expression does so to whoever runs over it."""
    if body.kind != "genexp" or body.parent is None:
        walk.use(uses.YIELDED, body, event)
        return
    maker = walk.tracer.maker_of(body)
    if maker is not None:
        walk.to(body.parent, maker.dst)


def returned(walk: Walk, body: Body, event: ir.Return, ref: ir.Ref) -> None:
    """The body ends with the value; a dict whose entries are replaced by numbers may hold none of it any more."""
    walk.use(uses.RETURNED, body, event, sure=not is_rewritten(walk.tracer.definitions(body), ref))


def called(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref) -> None:
    """The value is called, given to a call, or a method of it is called."""
    call_uses.called(walk, body, event, ref)


def unpacked(walk: Walk, body: Body, event: ir.Unpack, ref: ir.Ref) -> None:
    """Of several things that a call returns, the first is what it is for; the others may be anything."""
    if event.index == 1 and event.count == 2 and (paired := values_and_indices(walk.tracer, body, ref)):
        walk.use(uses.OFF, body, event, f"the indices of `{paired}(...)`")
        return
    first = event.index in (0, None) or not is_returned(walk.tracer.definitions(body), event.src)
    walk.to(body, event.dst, sure=first)


def is_returned(known: Definitions, ref: ir.Ref) -> bool:
    """Whether something is what a call returned, or a variable that stands for that."""
    maker = known.makers.get(ref)
    stores = known.assigning(maker) if isinstance(maker, ir.Load) else []
    made = [known.makers.get(store.src) for store in stores] or [maker]
    return all(isinstance(one, ir.Call) for one in made)


EVENTS: dict[type[ir.Event], Callable[[Any, Any, Any, Any], None]] = {
    ir.Copy: result,
    ir.Store: stored,
    ir.Attr: attribute,
    ir.Item: item,
    ir.Unary: unary,
    ir.Binary: computed,
    ir.Compare: compared,
    ir.Build: build,
    ir.Unpack: unpacked,
    ir.Augment: augmented,
    ir.Call: called,
    ir.MakeFunction: made_function,
    ir.SetAttr: set_attribute,
    ir.SetItem: set_item,
    ir.Opaque: opaque,
    ir.Iterate: result,
    ir.Next: result,
    ir.Enter: result,
    ir.Yield: handed_out,
    ir.Await: result,
    ir.Return: returned,
}
