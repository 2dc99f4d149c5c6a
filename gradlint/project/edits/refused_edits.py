"""Edits in place that torch refuses for how their target was made: with gradients off, or by a module with a hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.domains import grad_mode
from gradlint.domains.values import TENSOR, Obj
from gradlint.facts import Backward
from gradlint.facts.edits import DetachInPlace, ViewEdit
from gradlint.ir import events as ir
from gradlint.project.edits.lent_detaches import lent
from gradlint.project.edits.needed import needed
from gradlint.project.edits.view_edits import is_attached, several
from gradlint.project.values.aliases import MAY_COPY, Aliases, is_basic
from gradlint.torch_model import views

if TYPE_CHECKING:
    from gradlint.facts import Edit
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

LONGEST = 8
"""How many assignments and views between an edit and the tensor itself are looked through."""
TRANSPOSED = frozenset({"T", "mT", "H", "mH"})


def refused_edits(program: Program, tracer: Tracer, run: Run, edits: list[Edit]) -> Iterator[ViewEdit]:
    """The edits of views that were made with gradients off, and of what a module with a backward hook has returned."""
    for edit in edits:
        if edit.inside is not None or edit.called is not None or not edit.modes.records or edit.writes_leaf:
            continue
        hook = hook_of(program, run, edit)
        if hook is not None:
            yield ViewEdit(edit, "hooked", hook[0], hook[1])
        elif edit.alias:
            definitions = tracer.definitions(run.body)
            aliases = Aliases(definitions, run)
            ref = aliases.edited(aliases.events.get(edit.span))
            made = blind_view(tracer, definitions, run, ref) if ref is not None else None
            if made is not None:
                yield ViewEdit(edit, "blind", edit.target.name, made)


def hook_of(program: Program, run: Run, edit: Edit) -> tuple[str, Span] | None:
    """The module that has returned what is edited, and where it was given a backward hook before."""
    hooks = []
    for atom in edit.target.atoms if program.hooked else ():
        place = run.places.get(atom)
        for root in place.roots if place is not None and place.roots else {atom}:
            hooked = program.hooked.get(root.owner) if isinstance(root, Obj) and root.owner is not None else None
            if hooked is None or not isinstance(root, Obj) or not isinstance(root.event, ir.Call):
                return None
            body, span = hooked
            if body is run.body and span > root.span:
                return None
            hooks.append((run.labels[root.event.func] if root.event.func >= 0 else "", span))
    return hooks[0] if hooks and edit.target.attached else None


def blind_view(tracer: Tracer, definitions: Definitions, run: Run, ref: ir.Ref) -> Span | None:
    """Where a view of what is on the graph was made with gradients off."""
    made = None
    for _ in range(LONGEST):
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            store = stored(definitions, event)
            if store is None:
                return None
            ref = store.src
            continue
        whole = viewed(definitions, event)
        if whole is None or event is None:
            break
        if grad_mode.never_records(tracer.modes(run.body, event)):
            made = event.span
        ref = whole
    return made if made is not None and is_attached(run, ref) else None


def stored(definitions: Definitions, load: ir.Load) -> ir.Store | None:
    """The one assignment that a read may see; behind a ``with`` block it may seem not to have run."""
    stores = definitions.assigning(load)
    return stores[0] if len(stores) == 1 else None


def viewed(definitions: Definitions, event: ir.Event | None) -> ir.Ref | None:
    """What an event makes a view of."""
    if isinstance(event, ir.Call):
        method = definitions.makers.get(event.func)
        always = isinstance(method, ir.Attr) and views().get(method.name) == "always" and method.name not in MAY_COPY
        return method.obj if always and isinstance(method, ir.Attr) and method.name != "detach" else None
    if isinstance(event, ir.Attr):
        return event.obj if event.name in TRANSPOSED else None
    if isinstance(event, ir.Item):
        return event.obj if is_basic(definitions, event.key) else None
    return None


def refused_detaches(program: Program, tracer: Tracer, run: Run) -> Iterator[DetachInPlace]:
    """The calls of ``detach_`` on views, on what a backward still needs, and on a caller's tensor."""
    passes = run.recorder.all(Backward)
    for detach in run.recorder.all(DetachInPlace):
        saved, backwarded = needed(program, tracer, run, passes, detach, detach.saved)
        view = own_view(tracer.definitions(run.body), run, detach.span)
        if view is not None or (saved and backwarded):
            yield replace(detach, saved=saved, view=view)
        elif parameter := lent(program, tracer.definitions(run.body), detach.span):
            yield replace(detach, lent=parameter)


def own_view(definitions: Definitions, run: Run, call: Span) -> Span | None:
    """Where the tensor that ``detach_`` is called on was made as a view; an item of a tuple is none."""
    event = definitions.calls.get(call)
    method = definitions.makers.get(event.func) if event is not None else None
    ref = method.obj if isinstance(method, ir.Attr) else ir.OPAQUE_REF
    for _ in range(LONGEST):
        made = definitions.makers.get(ref)
        if isinstance(made, ir.Load):
            store = stored(definitions, made)
            if store is None:
                return None
            ref = store.src
            continue
        if isinstance(made, ir.Unpack):
            found = several(definitions, run, made.src)
            return found.event.span if found is not None else None
        whole = viewed(definitions, made)
        if whole is None or made is None:
            return None
        of_tensor = not isinstance(made, ir.Item) or is_many(definitions, made) or is_operation(run, whole)
        return made.span if of_tensor else None
    return None


def is_many(definitions: Definitions, item: ir.Item) -> bool:
    """Whether an index is a slice or has several parts: what that gives of a tuple has no ``detach_``."""
    return isinstance(definitions.makers.get(item.key), ir.Build)


def is_operation(run: Run, ref: ir.Ref) -> bool:
    """Whether something is the tensor that an operation of torch has returned, rather than what a module has."""
    value = run.temps[ref] if ref >= 0 else frozenset()
    places = [run.places.get(atom) for atom in value if isinstance(atom, Obj) and atom.type == TENSOR]
    return len(places) == len(value) > 0 and all(
        place is not None and place.via not in ("forward", "call", "") for place in places
    )
