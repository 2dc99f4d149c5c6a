"""Edits in place of views that must not be edited, and of results whose graph does not see the edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import ITERATOR, PARAMETER, TENSOR, Obj
from gradlint.facts.edits import HiddenEdit, LateBackward, ViewEdit
from gradlint.ir import events as ir
from gradlint.project import demands
from gradlint.project.aliases import Aliases, alias_of, following, read_after
from gradlint.torch_model.tensors import locked_views

if TYPE_CHECKING:
    from gradlint.facts import Backward, Edit, Forward, Step
    from gradlint.ir.cfg import Body
    from gradlint.project.definitions import Definitions
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

EXPANDS = frozenset({"expand", "expand_as", "broadcast_to"})
WHOLE = frozenset({"fill_", "zero_", "masked_fill_"})
"""Edits that torch makes on expanded memory as well: they write every row."""
LONGEST = 8
"""How many assignments and views between an edit and what made its target are looked through."""


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
        form = form_of(edit, event, definitions, found[1]) if found is not None else ""
        if found is not None and form:
            known.add(edit.span[:2])
            yield ViewEdit(edit, form, found[1], found[0].span)


def form_of(edit: Edit, event: ir.Event, definitions: Definitions, how: str) -> str:
    """What is wrong with the edit of a view that ``how`` made; empty if nothing is."""
    if how not in EXPANDS:
        return "multi" if edit.target.attached and edit.modes.records and not edit.writes_leaf else ""
    if isinstance(event, ir.SetItem):
        key = definitions.makers.get(event.key)
        if isinstance(key, ir.Const) and isinstance(key.value, int):
            return "silent"
        return "expanded" if isinstance(key, ir.Build) and key.kind == "slice" and not key.items else ""
    return "" if edit.op in WHOLE else "expanded"


def made_by(definitions: Definitions, run: Run, ref: ir.Ref) -> tuple[ir.Event, str] | None:
    """The call, and its name, that made what is edited as one of several views or by expanding; None for others."""
    for _ in range(LONGEST):
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            store = definitions.only(event)
            if store is None:
                return None
            ref = store.src
        elif isinstance(event, (ir.Unpack, ir.Item, ir.Next)):
            source = event.src if isinstance(event, ir.Unpack) else None
            source = event.obj if isinstance(event, ir.Item) else source
            source = event.iterator if isinstance(event, ir.Next) else source
            return several(definitions, run, source) if source is not None else None
        elif isinstance(event, ir.Call):
            method = definitions.makers.get(event.func)
            if not isinstance(method, ir.Attr):
                return None
            if method.name in EXPANDS:
                return event, method.name
            return None
        else:
            return None
    return None


def several(definitions: Definitions, run: Run, ref: ir.Ref) -> tuple[ir.Event, str] | None:
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
                return event, "iteration"
            ref = event.src
        elif isinstance(event, ir.Call):
            label = run.labels[event.func] if event.func >= 0 else ""
            name = label.rpartition(".")[2]
            value = run.temps[event.dst] if event.dst >= 0 else frozenset()
            is_views = bool(value) and all(isinstance(atom, Obj) and atom.type in (ITERATOR, TENSOR) for atom in value)
            return (event, name) if name in locked_views() and is_views else None
        else:
            return None
    return None


def is_tensor(run: Run, ref: ir.Ref) -> bool:
    """Whether what a loop runs over is a tensor for certain."""
    value = run.temps[ref] if ref >= 0 else frozenset()
    return bool(value) and all(isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER) for atom in value)


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


# -- steps -------------------------------------------------------------------------------------------------


def late_backwards(
    program: Program,
    definitions_of: Callable[[Body], Definitions],
    run: Run,
    forwards: list[Forward],
    steps: list[Step],
    backwards: list[Backward],
) -> Iterator[LateBackward]:
    """The backward passes through a graph whose parameters an optimizer has changed since it was recorded."""
    for step in steps if len(backwards) > 1 else ():
        owned = frozenset().union(*(program.owners.get(atom, frozenset()) for atom in step.optimizer.atoms))
        if not owned or step.closure:
            continue
        for forward in forwards:
            inside = forward.module.atoms and forward.module.atoms <= owned
            if not inside or not forward.result.attached or forward.span > step.span or is_layer(forward):
                continue
            for backward in backwards:
                between = step.span < backward.span and forward.loops == step.loops == backward.loops
                reached = demands.ancestors(run, frozenset(backward.target.atoms)) if between else set()
                if forward.result.atoms <= reached and is_reached(definitions_of(run.body), step, backward):
                    name = step.variable or step.optimizer.name
                    yield LateBackward(backward.span, backward.call, forward.span, forward.module.name, step.span, name)
                    return


def is_layer(forward: Forward) -> bool:
    """Whether a single layer of torch is called, which may not need its parameters for backward."""
    return any(
        isinstance(atom, Obj) and atom.type.startswith("torch.nn.") and not atom.type.endswith("Sequential")
        for atom in forward.module.atoms
    )


def is_reached(definitions: Definitions, step: Step, backward: Backward) -> bool:
    """Whether a path leads from a step to a backward pass."""
    first = definitions.calls.get(step.span)
    second = definitions.calls.get(backward.span)
    return first is not None and second is not None and second in following(definitions, first, frozenset())
