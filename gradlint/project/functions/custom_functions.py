"""Custom autograd functions: the classes of a file that derive from `torch.autograd.Function`, and what is wrong there.

Everything is told by the class alone: what ``forward`` or ``setup_context`` leaves on ``ctx``, what ``backward`` reads
there, how many tensors go in and how many gradients come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Cls, Fn, Obj
from gradlint.facts.functions import BrokenState, CustomFunction, KeptTensor
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.functions import function_gradients, function_inputs, function_seconds, function_tensors, lending
from gradlint.project.functions.context_methods import Method, is_none, methods_of, plain_atoms, static
from gradlint.project.functions.saved_tensors import same
from gradlint.project.functions.second_orders import SecondOrders

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.definitions import Definitions

INDICES = re.compile(
    r"(?:^|_)(?:idx|ids?|ind(?:s|ex|ices)?|arg\w*|mask|perm\w*|counts?|sizes?|shapes?|lens?|lengths?|order)\d*(?:_|$)"
)
"""Names of tensors of integers, which are no differentiable outputs."""
OWN = frozenset(
    """saved_tensors saved_variables saved_for_forward needs_input_grad save_for_backward save_for_forward mark_dirty
    mark_non_differentiable set_materialize_grads materialize_grads to_save non_differentiable dirty_tensors metadata
    name next_functions register_hook register_prehook mark_shared_storage apply generate_vmap_rule
    clear_saved_tensors_on_access""".split()
)
"""What every context has."""


class Class:
    """One custom function: its class, and those of its methods whose code is in sight."""

    def __init__(self, program: Program, cls: Cls, definitions_of: Callable[[Body], Definitions]) -> None:
        self.program, self.cls, self.definitions_of = program, cls, definitions_of
        setup = methods_of(program, cls, "setup_context")

        def method(name: str, *, takes_context: bool = True) -> Method | None:
            fn = methods_of(program, cls, name)
            if fn is None or fn.body.graph.too_large or not fn.body.parameters:
                return None
            return Method(program, fn, definitions_of(fn.body), takes_context=takes_context)

        self.forward = method("forward", takes_context=setup is None)
        self.setup = method("setup_context") if setup is not None else None
        self.backward = method("backward") or method("vjp")

    @property
    def inherits_only_from_torch(self) -> bool:
        """Whether all that the class has is in sight."""
        outside = [base.name for base in classes.lineage(self.cls) if isinstance(base, Api)]
        return outside == [classes.FUNCTION_BASE]

    @property
    def writer(self) -> Method | None:
        """The method that puts things on the context for ``backward``."""
        return self.setup or self.forward


def custom_functions(program: Program, definitions_of: Callable[[Body], Definitions]) -> Iterator[CustomFunction]:
    """The custom functions of a file."""
    orders = SecondOrders(program, definitions_of)
    for cls in list(program.classes.values()):
        if not classes.is_function(cls) or program.stubs.id_of(cls.body) is not None:
            continue
        known = Class(program, cls, definitions_of)
        found = CustomFunction(
            cls.label,
            cls.body.name_span,
            tuple(kept(known)),
            tuple(broken(known)),
            tuple(function_gradients.wrong(known)),
            tuple(function_tensors.spoilt(known)),
            (*function_tensors.saves(known), *function_inputs.captured(known), *function_inputs.unmaterialised(known)),
            tuple(function_seconds.seconds(known, orders)),
        )
        yield found


# -- what is kept on the context ---------------------------------------------------------------------------


def kept(known: Class) -> Iterator[KeptTensor]:
    """The inputs and outputs that stand in attributes of ``ctx``."""
    writer = known.writer
    if writer is None:
        return
    for event in writer.written():
        for part in writer.parts(event.src):
            role, owner = role_of(known, writer, part)
            if role:
                yield described(known, writer, event, part, role, owner)
                break


def described(known: Class, writer: Method, event: ir.SetAttr, part: ir.Ref, role: str, owner: bool) -> KeptTensor:
    """One kept tensor, with where backward reads it."""
    reads = [read for read in known.backward.read() if read.name == event.name] if known.backward is not None else []
    other = [one for one in writer.written() if one.name == event.name]
    saved = saves([method for method in (known.forward, known.setup) if method is not None])
    alone = part == event.src and not owner and len(other) == 1 and not saved
    spans = tuple(read.span for read in reads)
    return KeptTensor(event.span, event.name, writer.label(part), role, owner, spans, alone)


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
        return "output", False
    if unpacked_from_output(writer, ref):
        return "output", False
    if backward is not None and atoms and owns_output(writer, atoms):
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


# -- what backward does not find ---------------------------------------------------------------------------


def broken(known: Class) -> Iterator[BrokenState]:
    """What ``backward`` reads of the context and does not find there."""
    backward, writer = known.backward, known.writer
    if backward is None or writer is None or not known.inherits_only_from_torch:
        return
    methods = [method for method in (known.forward, known.setup) if method is not None and method.ctx]
    if not any(method.hands_context_on() for method in (backward, *methods)):
        yield from unset(known, backward, methods)
    yield from cleared(known, backward)


def unset(known: Class, backward: Method, methods: list[Method]) -> Iterator[BrokenState]:
    """Attributes that nothing sets, and saved tensors where none were saved."""
    own = set(known.program.namespaces.get(known.cls, {})) | OWN
    for base in classes.lineage(known.cls):
        own |= set(known.program.namespaces.get(base, {})) if isinstance(base, Cls) else set()
    if "__init__" in own and not static(backward.fn):
        return  # the context is an instance, which its constructor may have set them on
    written = {event.name for method in (*methods, backward) for event in method.written()}
    at, seen = methods[-1].body.name_span, set[str]()
    for read in sorted(backward.read(), key=lambda event: event.span):
        if read.name in seen or read.name.startswith("__"):
            continue
        seen.add(read.name)
        if read.name not in own | written:
            yield BrokenState(read.span, "unset", read.name, at)
        elif read.name in classes.SAVED and takes_saved(backward, read) and not saves(methods):
            yield BrokenState(read.span, "unsaved", read.name, at)


def saves(methods: list[Method]) -> bool:
    """Whether anything is given to ``save_for_backward``."""
    return any(method.calls("save_for_backward") for method in methods)


def takes_saved(backward: Method, read: ir.Attr) -> bool:
    """Whether saved tensors are taken out one by one, which fails where there are none."""
    readers = backward.definitions.readers.get(read.dst, ())
    return any(isinstance(reader, (ir.Unpack, ir.Item)) for reader in readers)


def cleared(known: Class, backward: Method) -> Iterator[BrokenState]:
    """Attributes that ``backward`` reads and then clears."""
    reads: dict[str, ir.Attr] = {}
    for read in backward.read():
        reads.setdefault(read.name, read)
    cleared_at = [(e.name, e.span) for e in backward.written() if is_none(backward.value(e.src))]
    cleared_at += [
        (event.name, event.span)
        for event in backward.events()
        if isinstance(event, ir.Delete) and event.name and event.obj is not None and backward.is_context(event.obj)
    ]
    for name, span in sorted(cleared_at, key=lambda one: one[1]):
        if name in reads and reads[name].span < span:
            yield BrokenState(span, "cleared", name, reads[name].span, retains_graph(known.program))


def retains_graph(program: Program) -> bool:
    """Whether some code of the file goes backward more than once through one graph."""
    return any(
        isinstance(event, ir.Call) and any(name in ("retain_graph", "create_graph") for name, _ in event.keywords)
        for body in {body for body, _ in program.runs}
        for block in body.graph.blocks
        for event in block.events
    )
