"""Buffers made beforehand that a loop fills from what it has put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Obj
from gradlint.facts import Forward
from gradlint.facts.edits import Recurrence
from gradlint.ir import events as ir
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.facts import Edit
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

MAKES = frozenset(
    "zeros ones empty full rand randn new_zeros new_ones new_empty new_full zeros_like empty_like".split()
)
COPIES = frozenset("clone detach item tolist numpy deepcopy".split())
MOST = 40
"""How many events between what is stored and the part that is read are looked through."""


def recurrences(
    program: Program, definitions_of: Callable[[Body], Definitions], run: Run, edits: list[Edit]
) -> Iterator[Recurrence]:
    """The edits in loops that fill a buffer from itself, through a call that trains."""
    for edit in edits:
        own = edit.op == "[]=" and edit.inside is None and edit.called is None
        if not own or not edit.loops or edit.saved or not edit.modes.records or roles.INFERENCE.search(run.body.name):
            continue
        definitions = definitions_of(run.body)
        event = next((one for one in definitions.events(ir.SetItem) if one.span == edit.span), None)
        buffer = definitions.makers.get(event.obj) if event is not None else None
        if event is None or not isinstance(buffer, ir.Load) or not is_made_before(definitions, run, buffer, edit):
            continue
        found = read_through_call(definitions, layer_calls(program, run), event.src, buffer.name)
        if found is not None:
            read, call = found
            name = run.labels[call.func] if call.func >= 0 else ""
            yield Recurrence(edit, read.span, call.span, name)


def is_made_before(definitions: Definitions, run: Run, buffer: ir.Load, edit: Edit) -> bool:
    """Whether a variable holds a fresh tensor that was made outside of the loop."""
    stores = definitions.assigning(buffer)
    for store in stores:
        call = definitions.makers.get(store.src)
        label = run.labels[call.func] if isinstance(call, ir.Call) and call.func >= 0 else ""
        if label.rpartition(".")[2] not in MAKES or len(definitions.loops(store)) >= len(edit.loops):
            return False
    return bool(stores)


def layer_calls(program: Program, run: Run) -> set[Span]:
    """The calls of modules that consist of several layers, and of functions of the file that call modules."""
    found = {
        forward.span
        for forward in run.recorder.all(Forward)
        if forward.result.attached
        and not any(isinstance(atom, Obj) and atom.type.startswith("torch.nn.") for atom in forward.module.atoms)
    }
    for call in run.recorder.local_calls():
        inner = program.runs.get((call.fn.body, grad_mode.INHERITED))
        if inner is not None and any(forward.result.attached for forward in inner.recorder.all(Forward)):
            found.add(call.span)
    return found


def read_through_call(
    definitions: Definitions, layers: set[Span], stored: ir.Ref, name: str
) -> tuple[ir.Item, ir.Call] | None:
    """The part of the variable ``name`` that what is stored was computed from, and the call of layers in between."""
    pending: list[tuple[ir.Ref, ir.Call | None]] = [(stored, None)]
    for _ in range(MOST):
        if not pending:
            return None
        ref, through = pending.pop()
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Item):
            whole = definitions.makers.get(event.obj)
            if isinstance(whole, ir.Load) and whole.name == name:
                if through is not None:
                    return event, through
                continue
            pending.append((event.obj, through))
        elif isinstance(event, ir.Call):
            method = definitions.makers.get(event.func)
            if isinstance(method, ir.Attr) and method.name in COPIES:
                continue
            inside = event if event.span in layers else through
            given = [*event.args, *(value for _, value in event.keywords)]
            pending += [(one, inside) for one in given]
            if isinstance(method, ir.Attr) and event.span not in layers:
                pending.append((method.obj, through))
        elif isinstance(event, ir.Load):
            store = definitions.only(event)
            if store is not None and definitions.loops(store):
                pending.append((store.src, through))
        elif isinstance(event, ir.Binary):
            pending += [(event.left, through), (event.right, through)]
        elif isinstance(event, (ir.Unary, ir.Unpack)):
            pending.append((event.src, through))
        elif isinstance(event, ir.Build):
            pending += [(item, through) for item in event.items]
    return None
