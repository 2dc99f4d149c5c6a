"""What a ``backward`` takes out of its context, and whether others have the same tensor.

Inputs and outputs are also the caller's. So is what ``forward`` puts into something that it was given, or that is older
than the call; a tensor that it makes for ``backward`` alone is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project.classes import SAVED
from gradlint.project.functions.context_methods import is_none, plain_atoms

if TYPE_CHECKING:
    from gradlint.project.functions.context_methods import Method
    from gradlint.project.functions.custom_functions import Class

ADDS = frozenset("append insert add".split())
"""Methods of containers that keep what they are given."""


def is_anothers(known: Class, backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary of ``backward`` is what was saved of an input or an output, or of what is kept elsewhere."""
    event = backward.maker(ref)
    if isinstance(event, ir.Attr):
        return backward.is_context(event.obj) and is_kept(known, event.name)
    position = taken(backward, event)
    writer = known.writer
    calls = writer.calls("save_for_backward") if writer is not None else []
    if writer is None or position is None or not calls:
        return False
    refs = [given(writer, call) for call in calls]
    return all(position < len(items) and is_shared(known, writer, items[position]) for items in refs)


def taken(backward: Method, event: ir.Event | None) -> int | None:
    """The position in what was saved that an event takes out."""
    if isinstance(event, ir.Unpack):
        return event.index if is_all(backward, event.src) else None
    if not isinstance(event, ir.Item) or not is_all(backward, event.obj):
        return None
    key = backward.maker(event.key)
    value = key.value if isinstance(key, ir.Const) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def is_all(backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is the tuple of saved tensors."""
    event = backward.maker(ref)
    if isinstance(event, ir.Load):
        only = backward.definitions.only(event)
        return only is not None and is_all(backward, only.src)
    return isinstance(event, ir.Attr) and event.name in SAVED and backward.is_context(event.obj)


def given(writer: Method, call: ir.Call) -> list[ir.Ref]:
    """The arguments of ``save_for_backward`` in order, as far as they are written out."""
    found: list[ir.Ref] = []
    for position, ref in enumerate(call.args):
        if position not in call.starred:
            found.append(ref)
            continue
        items, whole = written_out(writer, ref)
        found += items
        if not whole:
            break
    return found


def written_out(writer: Method, ref: ir.Ref) -> tuple[list[ir.Ref], bool]:
    """The first items of a list or tuple, and whether these are all: ``[x, y] + list(others)``."""
    event = writer.maker(ref)
    if isinstance(event, ir.Load):
        only = writer.definitions.only(event)
        return written_out(writer, only.src) if only is not None else ([], False)
    if isinstance(event, ir.Build) and event.kind in ("list", "tuple"):
        first = min(event.starred) if event.starred else len(event.items)
        return list(event.items[:first]), not event.starred
    if isinstance(event, ir.Binary) and event.op == "+":
        items, whole = written_out(writer, event.left)
        more, all_of_it = written_out(writer, event.right) if whole else ([], False)
        return items + more, all_of_it
    return [], False


def is_kept(known: Class, name: str) -> bool:
    """Whether an attribute of the context is an input or an output that ``forward`` leaves there, a tensor for sure."""
    writer = known.writer
    stored = [event for event in writer.written() if event.name == name] if writer is not None else []
    return bool(stored) and all(writer is not None and is_tensor(known, writer, event.src) for event in stored)


def is_tensor(known: Class, writer: Method, ref: ir.Ref) -> bool:
    """Whether what is kept is a tensor that others have."""
    parameter = writer.parameter_of(ref)
    if parameter is not None:
        return known.setup is None and writer.used_as_tensor(parameter)
    return is_shared(known, writer, ref)


def is_shared(known: Class, writer: Method, ref: ir.Ref) -> bool:
    """Whether others have a tensor of ``forward``: as an input, an output, or by what it was put into."""
    if known.setup is not None:
        return is_of_setup(writer, ref)
    atoms = plain_atoms(writer.value(ref))
    if writer.parameter_of(ref) is not None or bool(atoms and atoms <= writer.outputs()):
        return True
    return any(same(writer, ref, src) for src in put_away(writer))


def is_of_setup(setup: Method, ref: ir.Ref) -> bool:
    """Whether a temporary of ``setup_context(ctx, inputs, output)`` is one of the inputs or outputs."""
    event = setup.maker(ref)
    names = {parameter.name for parameter in setup.inputs}
    for _ in range(4):
        if isinstance(event, ir.Load):
            only = setup.definitions.only(event)
            if only is None:
                return event.name in names and setup.parameter_of(event.dst) is not None
            event = setup.maker(only.src)
        elif isinstance(event, ir.Unpack):
            event = setup.maker(event.src)
        elif isinstance(event, ir.Item):
            event = setup.maker(event.obj)
    return False


def put_away(forward: Method) -> list[ir.Ref]:
    """What ``forward`` puts into something that it was given: a list, a dict, an object."""
    found: list[ir.Ref] = []
    for event in forward.events():
        if isinstance(event, (ir.SetItem, ir.SetAttr)) and forward.parameter_of(event.obj) is not None:
            found.append(event.src)
        elif isinstance(event, ir.Call):
            method = forward.maker(event.func)
            if isinstance(method, ir.Attr) and method.name in ADDS and forward.parameter_of(method.obj) is not None:
                found += event.args
    return found


def same(forward: Method, one: ir.Ref, other: ir.Ref) -> bool:
    """Whether two temporaries are one object: what one assignment gave a variable."""
    first, second = forward.maker(one), forward.maker(other)
    if not isinstance(first, ir.Load) or not isinstance(second, ir.Load) or first.name != second.name:
        return False
    stores = set(forward.definitions.assigning(first))
    values = (store for store in stores if not is_none(forward.value(store.src)))
    return any(store in forward.definitions.assigning(second) for store in values)
