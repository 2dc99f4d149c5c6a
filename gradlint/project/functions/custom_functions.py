"""Custom autograd functions: the classes of a file that derive from `torch.autograd.Function`, and what is wrong there.

Everything is told by the class alone: what ``forward`` or ``setup_context`` leaves on ``ctx``, what ``backward`` reads
there, how many tensors go in and how many gradients come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Cls
from gradlint.facts.functions import BrokenState, CustomFunction
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.functions import function_gradients, function_inputs, function_seconds, function_tensors
from gradlint.project.functions.context_methods import Method, is_none, methods_of, saves, static
from gradlint.project.functions.kept_tensors import kept
from gradlint.project.functions.second_orders import SecondOrders

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.definitions import Definitions

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
        for event in body.graph.events()
    )
