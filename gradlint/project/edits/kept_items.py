"""Edits in loops: which of the objects that one place of the program makes, one after the other, is the edited one.

Of all items of a collection, edited in turn, it is enough that one was saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, TENSOR, Obj
from gradlint.ir import events as ir
from gradlint.project.values.aliases import Aliases

if TYPE_CHECKING:
    from gradlint.domains.tensor import Saved
    from gradlint.facts import Edit
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions


def saved(definitions: Definitions, run: Run, edit: Edit) -> tuple[Saved, ...]:
    """What keeps the target of an edit, or, where that is each item of a collection in turn, one of the items."""
    if not edit.loops:
        return edit.saved
    earlier = {one for atom in edit.target.atoms for one in run.passed_on.get(atom, ())}
    if not (edit.saved or edit.some or earlier):
        return ()
    aliases = Aliases(definitions, run)
    event = aliases.events.get(edit.span)
    ref = aliases.edited(event)
    loop = taking(definitions, ref) if ref is not None else None
    if edit.saved:
        turn = loop or choosing(definitions, ref)
        if turn is not None and not is_of_tensor(definitions, run, ref, turn):
            kept = [one for one in edit.saved if not is_of_turn_before(definitions, turn, edit, one)]
        else:
            kept = list(edit.saved)
        return tuple(one for one in kept if not is_of_another(definitions, ref, edit, one))
    if event is None or loop is None or may_pass_by(definitions, event, loop):
        return ()
    return tuple(sorted({*edit.some, *earlier}, key=lambda one: one.span))


def choosing(definitions: Definitions, ref: ir.Ref | None) -> ir.Next | None:
    """Where a ``for`` loop takes the number or key under which a temporary is read out of a collection."""
    item = definitions.makers.get(ref) if ref is not None else None
    return taking(definitions, item.key) if isinstance(item, ir.Item) else None


def is_of_tensor(definitions: Definitions, run: Run, ref: ir.Ref | None, turn: ir.Next) -> bool:
    """Whether an item is a part of a tensor: all parts share its memory, and one count of edits."""
    item = definitions.makers.get(ref) if ref is not None else None
    iterate = definitions.makers.get(turn.iterator)
    whole = item.obj if isinstance(item, ir.Item) else iterate.src if isinstance(iterate, ir.Iterate) else -1
    atoms = run.temps[whole] - run.lists if whole >= 0 else ()
    return any(isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER) for atom in atoms)


def is_of_turn_before(definitions: Definitions, turn: ir.Next, edit: Edit, saved: Saved) -> bool:
    """Whether what has ``saved`` runs in the loop that gives out the items, but not before the edit of this one."""
    inside = definitions.loops(turn)
    keeper = definitions.calls.get(saved.span)
    return keeper is not None and saved.span >= edit.span and definitions.loops(keeper)[: len(inside)] == inside


def is_of_another(definitions: Definitions, ref: ir.Ref | None, edit: Edit, saved: Saved) -> bool:
    """Whether what is edited, ``ref``, is made anew in every iteration, behind what has ``saved`` the one before."""
    load = definitions.makers.get(ref) if ref is not None else None
    keeper = definitions.calls.get(saved.span)
    if not isinstance(load, ir.Load) or keeper is None or definitions.loops(keeper)[-1:] != edit.loops[-1:]:
        return False
    made = [definitions.makers.get(store.src) for store in definitions.assigning(load)]
    if not made or None in definitions.seen.get(load, (None,)):
        return False
    return all(
        isinstance(one, ir.Call)
        and saved.span < one.span < edit.span
        and definitions.loops(one)[-1:] == edit.loops[-1:]
        for one in made
    )


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
