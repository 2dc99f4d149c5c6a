"""The inputs and outputs that a custom autograd function keeps in attributes of its context."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import TENSOR, Api, Atom, Fn, Obj
from gradlint.facts.functions import KeptTensor
from gradlint.ir import events as ir
from gradlint.project.functions import function_tensors, lending
from gradlint.project.functions.context_methods import Method, is_none, plain_atoms, saves, static
from gradlint.project.functions.saved_tensors import same
from gradlint.project.values.aliases import following

if TYPE_CHECKING:
    from gradlint.project.functions.custom_functions import Class

INDICES = re.compile(
    r"(?:^|_)(?:idx|ids?|ind(?:s|ex|ices)?|arg\w*|mask|perm\w*|counts?|sizes?|shapes?|lens?|lengths?|order|ptrs?|cnts?|steps?)\d*(?:_|$)"
)
"""Names of integers and of tensors of these, which no graph hangs on."""

MEASURES = frozenset(
    "shape size dim ndim ndimension numel dtype device layout is_cuda requires_grad new_zeros new_empty".split()
)
"""What is read of a tensor without a look at its values."""

EMPTIES = frozenset({"pop", "popitem", "clear"})
"""Methods that take things out of a container."""


def kept(known: Class) -> Iterator[KeptTensor]:
    """The inputs and outputs that stand in attributes of ``ctx``."""
    writer = known.writer
    if writer is None or is_of_old_style(known):
        return
    let_go = taken_away(known.backward) if known.backward is not None else frozenset()
    for event in writer.written():
        for part in writer.parts(event.src) if event.name not in let_go else ():
            role, owner = role_of(known, writer, part)
            if role and not is_saved_instead(writer, event, part):
                yield described(known, writer, event, part, role, owner)
                break


def described(known: Class, writer: Method, event: ir.SetAttr, part: ir.Ref, role: str, owner: bool) -> KeptTensor:
    """One kept tensor, with where backward reads it."""
    reads = [read for read in known.backward.read() if read.name == event.name] if known.backward is not None else []
    other = [one for one in writer.written() if one.name == event.name]
    saved = saves([method for method in (known.forward, known.setup) if method is not None])
    alone = part == event.src and not owner and len(other) == 1 and not saved
    spans = tuple(read.span for read in reads)
    measured = bool(reads) and all(
        is_measured(known.backward, read.dst) for read in reads if known.backward is not None
    )
    return KeptTensor(event.span, event.name, writer.label(part), role, owner, spans, alone, measured)


def is_measured(backward: Method, ref: ir.Ref) -> bool:
    """Whether nothing is read of a tensor but its shape, its type or where it lies."""
    for reader in backward.definitions.readers.get(ref, ()):
        if isinstance(reader, ir.Store):
            loads = backward.definitions.loads.get(reader, ())
            if not all(is_measured(backward, load.dst) for load in loads):
                return False
        elif isinstance(reader, ir.Attr):
            if reader.name not in MEASURES:
                return False
        elif not (isinstance(reader, ir.Call) and reader.args[:1] == (ref,) and is_like(backward, reader)):
            return False
    return True


def is_like(backward: Method, call: ir.Call) -> bool:
    """Whether a call makes a tensor of the shape and type of its first argument: ``torch.zeros_like(x)``."""
    function = backward.value(call.func)
    return bool(function) and all(isinstance(atom, Api) and atom.name.endswith("_like") for atom in function)


def role_of(known: Class, writer: Method, ref: ir.Ref) -> tuple[str, bool]:
    """What a temporary is to the function, and whether it only owns that."""
    name = writer.label(ref)
    if not name or INDICES.search(name):
        return "", False
    if known.setup is not None:
        return role_in_setup(known, writer, ref), False
    atoms = frozenset(atom for atom in plain_atoms(writer.value(ref)) if is_one(writer, atom))
    parameter = writer.parameter_of(ref)
    backward = known.backward
    if parameter is not None and (writer.used_as_tensor(parameter) or is_differentiable(known, writer, parameter)):
        return "input", False
    if atoms and atoms & writer.outputs() and not is_marked(writer, atoms):
        return ("output" if may_hold_graph(known, writer, atoms) else ""), False
    if unpacked_from_output(writer, ref):
        return "output", False
    if backward is not None and atoms and parameter is None and owns_output(writer, atoms):
        return "output", True
    if any(plain_atoms(writer.value(one)) & writer.outputs() for one in lending.exported(known, writer, ref)):
        return "output", True
    return "", False


def is_differentiable(known: Class, forward: Method, name: str) -> bool:
    """Whether ``backward`` gives an input a gradient: it is a tensor then (facts: CF04)."""
    backward, names = known.backward, [one.name for one in forward.inputs]
    if backward is None or any(one.kind != "positional" for one in forward.inputs):
        return False
    if len(names) == 1:
        returns = backward.returned()
        return bool(returns) and not any(event.src is None or is_none(backward.value(event.src)) for event in returns)
    return function_tensors.gets_gradient(backward, names.index(name))


def is_of_old_style(known: Class) -> bool:
    """Whether instances are made to be called, which torch refuses: ``forward`` never runs."""
    own = known.program.namespaces.get(known.cls, {})
    return known.forward is not None and not static(known.forward.fn) and "__init__" in own


def taken_away(backward: Method) -> frozenset[str]:
    """The attributes that ``backward`` takes off the context, or takes things out of, so that nothing is kept.

    To set one to None is none of it: real code does so that leaks wherever no backward runs.
    """
    found = set[str]()
    for gone in backward.definitions.events(ir.Delete):
        if gone.name and gone.obj is not None and backward.is_context(gone.obj):
            found.add(gone.name)
    for read in backward.read():
        readers = backward.definitions.readers.get(read.dst, ())
        if any(isinstance(reader, ir.Attr) and reader.name in EMPTIES for reader in readers):
            found.add(read.name)
    return frozenset(found)


def is_saved_instead(writer: Method, event: ir.SetAttr, part: ir.Ref) -> bool:
    """Whether the same variable is given to ``save_for_backward`` on another way: for another release of torch."""
    name, none = writer.label(part), frozenset[str]()
    calls = [call for call in writer.calls("save_for_backward") if name in map(writer.label, call.args)]
    behind = set(following(writer.definitions, event, none)) if calls else set()
    return any(call not in behind and event not in following(writer.definitions, call, none) for call in calls)


def may_hold_graph(known: Class, writer: Method, atoms: frozenset[Atom]) -> bool:
    """Whether an output is a tensor for certain, or one whose gradient ``backward`` reads."""
    if known.backward is None or all(isinstance(atom, Obj) and atom.type == TENSOR for atom in atoms):
        return True
    inputs = known.backward.inputs
    read = {event.name for event in known.backward.definitions.events(ir.Load)}
    for event in writer.returned():
        for position, part in enumerate(writer.parts(event.src) if event.src is not None else ()):
            if plain_atoms(writer.value(part)) & atoms:
                own = inputs[position] if position < len(inputs) else None
                if own is None or own.kind != "positional" or own.name in read:
                    return True
    return False


def is_one(writer: Method, atom: Atom) -> bool:
    """Whether an atom stands for one object: all that a function of the file returns is one atom."""
    event = atom.event if isinstance(atom, Obj) else None
    return not isinstance(event, ir.Call) or not any(isinstance(one, Fn) for one in writer.value(event.func))


def role_in_setup(known: Class, setup: Method, ref: ir.Ref) -> str:
    """The role of a temporary in ``setup_context(ctx, inputs, output)``."""
    event = setup.maker(ref)
    if isinstance(event, ir.Load) and len(setup.inputs) > 1 and event.name == setup.inputs[1].name:
        return "output"
    return ""


def is_marked(writer: Method, atoms: frozenset[object]) -> bool:
    """Whether an output is marked as not differentiable: it has no graph that could hold the context."""
    marked = [ref for call in writer.calls("mark_non_differentiable") for ref in call.args]
    return any(plain_atoms(writer.value(ref)) & atoms for ref in marked)


def unpacked_from_output(writer: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is one part of a tuple that is returned as a whole: `t, y = solved; return solved`."""
    load = writer.maker(ref)
    stores = writer.definitions.assigning(load) if isinstance(load, ir.Load) else []
    unpack = writer.maker(stores[0].src) if len(stores) == 1 else None
    returned = [event.src for event in writer.returned() if event.src is not None]
    if not isinstance(unpack, ir.Unpack) or writer.calls("mark_non_differentiable"):
        return False
    return any(same(writer, unpack.src, src) for src in returned)


def owns_output(writer: Method, atoms: frozenset[object]) -> bool:
    """Whether an attribute of what is kept is returned: ``ctx.out = out; return out.values``."""
    for event in writer.returned():
        for part in writer.parts(event.src) if event.src is not None else ():
            maker = writer.maker(part)
            if isinstance(maker, ir.Attr) and plain_atoms(writer.value(maker.obj)) == atoms:
                return not writer.is_context(maker.obj)
    return False
