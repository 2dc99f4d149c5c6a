"""Edits in place of views that must not be edited, and of results whose graph does not see the edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import tensor
from gradlint.domains.values import ITERATOR, PARAMETER, TENSOR, Obj
from gradlint.facts.edits import HiddenEdit, ViewEdit
from gradlint.ir import events as ir
from gradlint.project.values import demands
from gradlint.project.values.aliases import Aliases, alias_of, read_after
from gradlint.torch_model.tensors import locked_views, views

if TYPE_CHECKING:
    from gradlint.facts import Backward, Edit
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

EXPANDS = frozenset({"expand", "expand_as", "broadcast_to"})
WHOLE = frozenset({"fill_", "zero_", "masked_fill_"})
"""Edits that torch makes on expanded memory as well: they write every row."""
LONGEST = 8
"""How many assignments and views between an edit and what made its target are looked through."""


class Made(NamedTuple):
    """What made a view, and whether what it is a view of is on the graph for certain."""

    event: ir.Event
    how: str
    attached: bool


def view_edits(definitions_of: Callable[[Body], Definitions], run: Run, edits: list[Edit]) -> Iterator[ViewEdit]:
    """The edits of expanded tensors, and of one of several views of a tensor on the graph."""
    own = [edit for edit in edits if edit.inside is None and edit.called is None]
    if not own:
        return
    definitions = definitions_of(run.body)
    aliases, known = Aliases(definitions, run), set[tuple[int, int]]()
    for edit in own:
        event = aliases.events.get(edit.span)
        ref = aliases.edited(event)
        if event is None or ref is None or edit.span[:2] in known:
            continue
        found = made_by(definitions, run, ref)
        form = form_of(edit, event, definitions, found) if found is not None else ""
        if found is not None and form:
            known.add(edit.span[:2])
            yield ViewEdit(edit, form, found.how, found.event.span)


def form_of(edit: Edit, event: ir.Event, definitions: Definitions, made: Made) -> str:
    """What is wrong with the edit of a view; empty if nothing is."""
    if made.how not in EXPANDS:
        attached = edit.target.attached or made.attached
        return "multi" if attached and edit.modes.records and not edit.writes_leaf else ""
    if isinstance(event, ir.SetItem):
        key = definitions.makers.get(event.key)
        if isinstance(key, ir.Const) and isinstance(key.value, int):
            return "silent"
        return "expanded" if isinstance(key, ir.Build) and key.kind == "slice" and not key.items else ""
    return "" if edit.op in WHOLE else "expanded"


def made_by(definitions: Definitions, run: Run, ref: ir.Ref) -> Made | None:
    """What made what is edited as one of several views or by expanding, on one path at least; None for others."""
    pending = [ref]
    for _ in range(LONGEST):
        if not pending:
            return None
        event = definitions.makers.get(ref := pending.pop(0))
        if isinstance(event, ir.Load):
            pending += [store.src for store in definitions.assigning(event)]
        elif isinstance(event, (ir.Unpack, ir.Item, ir.Next)):
            source = event.src if isinstance(event, ir.Unpack) else None
            source = event.obj if isinstance(event, ir.Item) else source
            source = event.iterator if isinstance(event, ir.Next) else source
            if isinstance(event, ir.Unpack) and is_one_view(definitions, run, event.src):
                return Made(event, "unpacking", is_attached(run, event.src))
            found = several(definitions, run, source) if source is not None else None
            if found is not None:
                return found
        elif isinstance(event, ir.Call):
            method = definitions.makers.get(event.func)
            if isinstance(method, ir.Attr) and method.name in EXPANDS:
                # An edit of what only one path has expanded may be meant for the other.
                return Made(event, method.name, False) if not pending else None
    return None


def several(definitions: Definitions, run: Run, ref: ir.Ref) -> Made | None:
    """The call, or the loop, that made several views of one tensor."""
    for _ in range(LONGEST):
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            store = definitions.only(event)
            if store is None:
                return None
            ref = store.src
        elif isinstance(event, ir.Iterate):
            if is_tensor(run, event.src):
                return Made(event, "iteration", is_attached(run, event.src))
            ref = event.src
        elif isinstance(event, ir.Call):
            label = run.labels[event.func] if event.func >= 0 else ""
            name = label.rpartition(".")[2]
            value = run.temps[event.dst] if event.dst >= 0 else frozenset()
            is_views = bool(value) and all(isinstance(atom, Obj) and atom.type in (ITERATOR, TENSOR) for atom in value)
            method = definitions.makers.get(event.func)
            whole = method.obj if isinstance(method, ir.Attr) else ir.OPAQUE_REF
            return Made(event, name, is_attached(run, whole)) if name in locked_views() and is_views else None
        else:
            return None
    return None


def is_one_view(definitions: Definitions, run: Run, ref: ir.Ref) -> bool:
    """Whether a view method has made what is unpacked: one tensor for certain, where other calls may return several."""
    event = definitions.makers.get(ref)
    while isinstance(event, ir.Load) and (store := definitions.only(event)) is not None:
        event = definitions.makers.get(store.src)
    method = definitions.makers.get(event.func) if isinstance(event, ir.Call) else None
    return isinstance(method, ir.Attr) and views().get(method.name, "multi") != "multi" and is_tensor(run, ref)


def is_attached(run: Run, ref: ir.Ref) -> bool:
    """Whether what is split is on the graph for certain, whatever other paths put under the name of its part."""
    value = run.temps[ref] if ref >= 0 else frozenset()
    places = [run.places.get(atom) for atom in value]
    return bool(places) and all(place is not None and place.graph == tensor.GRAPH for place in places)


def is_tensor(run: Run, ref: ir.Ref) -> bool:
    """Whether what a loop runs over is a tensor for certain."""
    value = run.temps[ref] if ref >= 0 else frozenset()
    tensors = (atom for atom in value if isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER))
    return bool(value) and value == frozenset(tensors) - run.lists


# -- with gradients off ------------------------------------------------------------------------------------


def hidden_edits(
    definitions_of: Callable[[Body], Definitions], run: Run, edits: list[Edit], backwards: list[Backward]
) -> Iterator[HiddenEdit]:
    """The edits with gradients off of results on the graph, from which a backward of the body starts afterwards."""
    for edit in edits:
        off = next((edit.modes.since[mode] for mode in edit.modes.since if edit.modes.bits & mode), None)
        if not edit.modes.off or off is None or edit.inside is not None or edit.called is not None or edit.saved:
            continue
        places = [run.places.get(atom) for atom in edit.target.atoms]
        if edit.target.graph != tensor.GRAPH or not all(place is not None for place in places):
            continue
        definitions = definitions_of(run.body)
        event = Aliases(definitions, run).events.get(edit.span)
        for backward in backwards:
            reached = demands.ancestors(run, frozenset(backward.target.atoms))
            if event is None or not edit.target.atoms <= reached or backward.loops != edit.loops:
                continue
            if edit.span < backward.span and goes_on(definitions, run, event, backward):
                yield HiddenEdit(edit, off, backward.span)
                break


def goes_on(definitions: Definitions, run: Run, event: ir.Event, backward: Backward) -> bool:
    """Whether what was edited is read between the edit and the backward, or is what that starts from."""
    ref = Aliases(definitions, run).edited(event)
    alias = alias_of(definitions, ref) if ref is not None else None
    read = (
        read_after(definitions, event, alias.variable) if alias is not None and alias.kind in ("same", "view") else None
    )
    return read is not None and read.span[:2] <= backward.span[2:]
