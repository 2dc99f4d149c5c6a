"""Edits of all items of a collection, one after the other: it is enough that one of them was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project.values.aliases import Aliases

if TYPE_CHECKING:
    from gradlint.domains.tensor import Saved
    from gradlint.facts import Edit
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions


def saved(definitions: Definitions, run: Run, edit: Edit) -> tuple[Saved, ...]:
    """What keeps the target of an edit, or, where that is each item of a collection in turn, one of the items."""
    if edit.saved or not edit.loops:
        return edit.saved
    earlier = {one for atom in edit.target.atoms for one in run.passed_on.get(atom, ())}
    if not (edit.some or earlier):
        return ()
    aliases = Aliases(definitions, run)
    event = aliases.events.get(edit.span)
    ref = aliases.edited(event)
    loop = taking(definitions, ref) if ref is not None else None
    if event is None or loop is None or may_pass_by(definitions, event, loop):
        return ()
    return tuple(sorted({*edit.some, *earlier}, key=lambda one: one.span))


def taking(definitions: Definitions, ref: ir.Ref) -> ir.Next | None:
    """Where a ``for`` loop takes a temporary out of a collection; None if it may be anything else."""
    made = definitions.makers.get(ref)
    while isinstance(made, (ir.Unpack, ir.Load)):
        if isinstance(made, ir.Unpack):
            made = definitions.makers.get(made.src)
        else:
            store = definitions.only(made)
            made = definitions.makers.get(store.src) if store is not None else None
    return made if isinstance(made, ir.Next) else None


def may_pass_by(definitions: Definitions, edit: ir.Event, loop: ir.Next) -> bool:
    """Whether an iteration of a loop may leave its item alone."""
    head, place = definitions.blocks[loop], definitions.blocks[edit]
    if head is place:
        return False
    pending, seen = list(head.successors), {place.index}
    while pending:
        index = pending.pop()
        if index == head.index:
            return True
        if index not in seen:
            seen.add(index)
            pending.extend(definitions.body.graph.blocks[index].successors)
    return False
