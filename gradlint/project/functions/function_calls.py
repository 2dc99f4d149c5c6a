"""How custom autograd functions are used, and backward passes inside of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import Cls, Fn, Obj
from gradlint.facts.functions import FunctionCall, InnerBackward
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.forwards.frozen import Frozen
from gradlint.project.functions import function_inputs
from gradlint.project.functions.context_methods import static
from gradlint.project.functions.custom_functions import Class

if TYPE_CHECKING:
    from gradlint.facts import Backward
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def function_calls(program: Program, tracer: Tracer, run: Run) -> Iterator[FunctionCall]:
    """The uses of custom functions in one body that go past ``apply``."""
    if not any(classes.is_function(cls) for cls in program.classes.values()):
        return
    calls = Calls(program, tracer, run)
    for event in run.body.graph.events():
        if isinstance(event, ir.Call):
            yield from calls.of(event)


class Calls:
    """The calls of one body."""

    def __init__(self, program: Program, tracer: Tracer, run: Run) -> None:
        self.program, self.tracer, self.run = program, tracer, run
        self.definitions = tracer.definitions(run.body)
        self.inside = function_around(program, run.body) is not None

    def of(self, event: ir.Call) -> Iterator[FunctionCall]:
        """What is wrong with one call."""
        callees = self.run.temps[event.func] if event.func >= 0 else frozenset()
        if len(callees) != 1:
            return
        (atom,) = callees
        if isinstance(atom, Obj) and atom.cls is not None and classes.is_function(atom.cls):
            if classes.method(self.program, atom.cls, "__call__") is None:
                yield self._called(event, atom)
        elif isinstance(atom, Cls) and classes.is_function(atom):
            yield from self._made(event, atom)
        elif isinstance(atom, Fn):
            yield from self._forward(event, atom)
        maker = self.definitions.makers.get(event.func)
        if isinstance(maker, ir.Attr) and maker.name == "apply":
            yield from self._containers(event, maker)
            yield from self._modules(event, maker)

    def _called(self, event: ir.Call, instance: Obj) -> FunctionCall:
        maker = self.definitions.makers.get(event.func)
        made = maker if isinstance(maker, ir.Call) and not maker.args and not maker.keywords else None
        cls = self.definitions.makers.get(made.func) if made is not None else None
        name = instance.cls.label if instance.cls is not None else instance.label
        return FunctionCall(event.span, "called", name, "", made.span if made else None, cls.span if cls else None)

    def _made(self, event: ir.Call, cls: Cls) -> Iterator[FunctionCall]:
        """An instance: for a class of the old style, or given tensors, somebody is meant to call it."""
        forward = classes.own_function(self.program, cls, "forward")
        readers = self.definitions.readers.get(event.dst, ())
        if any(isinstance(reader, ir.Call) and reader.func == event.dst for reader in readers):
            return
        if all(isinstance(reader, ir.Attr) for reader in readers) or forward is None:
            return
        if not static(forward) and classes.method(self.program, cls, "__call__") is None:
            yield FunctionCall(event.span, "made", cls.label)

    def _forward(self, event: ir.Call, fn: Fn) -> Iterator[FunctionCall]:
        """``Fn.forward(None, x)`` on every way through the body."""
        owner = fn.body.parent
        cls = self.program.classes.get(owner) if owner is not None else None
        if self.inside or cls is None or fn.body.name != "forward" or not classes.is_function(cls) or not event.args:
            return
        maker, func = self.definitions.makers.get(event.args[0]), self.definitions.makers.get(event.func)
        if not isinstance(maker, ir.Const) or maker.value is not None or not isinstance(func, ir.Attr):
            return
        if len(event.args) < 2 or self.definitions.blocks[event].index not in self.run.unconditional():
            return
        named = self.definitions.makers.get(func.obj)
        yield FunctionCall(event.span, "forward", cls.label, "", func.span, named.span if named else None)

    def _containers(self, event: ir.Call, maker: ir.Attr) -> Iterator[FunctionCall]:
        """``Fn.apply([a, b])``, where tensors on the graph are in the list."""
        owners = self.run.temps[maker.obj] if maker.obj >= 0 else frozenset()
        cls = next((atom for atom in owners if isinstance(atom, Cls) and classes.is_function(atom)), None)
        for ref in event.args if cls is not None else ():
            build = self.definitions.makers.get(ref)
            if isinstance(build, ir.Build) and build.kind in ("list", "tuple", "dict") and self._tracked(build):
                yield FunctionCall(event.span, "container", cls.label if cls else "", build.kind, build.span)

    def _modules(self, event: ir.Call, maker: ir.Attr) -> Iterator[FunctionCall]:
        """``Fn.apply(x, layer)``, where ``forward`` calls the layer and nobody gives its parameters a gradient."""
        owners = self.run.temps[maker.obj] if maker.obj >= 0 else frozenset()
        (cls,) = owners if len(owners) == 1 else (None,)
        if not isinstance(cls, Cls) or not classes.is_function(cls) or event.starred or len(event.args) < 2:
            return
        called = function_inputs.called_inputs(Class(self.program, cls, self.tracer.definitions))
        for position in (one for one in called if one < len(event.args)):
            value = self.run.temps[event.args[position]]
            trained = value and all(isinstance(atom, Obj) and self._is_trained(atom) for atom in value)
            if trained and not Frozen(self.program, self.tracer).covers(value):
                yield FunctionCall(event.span, "module", cls.label, self.run.labels[event.args[position]])

    def _is_trained(self, atom: Obj) -> bool:
        is_known = atom.cls is not None or atom.type.startswith("torch.nn.")
        if not is_known or not self.program.is_module(atom):
            return False
        return not self.program.is_parameterless(atom) and not self.program.is_free_of_parameters(atom)

    def _tracked(self, build: ir.Build) -> bool:
        """Whether something in a container is on the graph for certain."""
        for ref in build.items:
            for atom in self.run.temps[ref]:
                place = self.run.places.get(atom)
                if place is not None and place.graph and not place.graph & ~tensor.ATTACHED:
                    return True
        return False


def function_around(program: Program, body: Body | None) -> Cls | None:
    """The custom function that a body belongs to."""
    while body is not None:
        cls = program.classes.get(body) if body.kind == "class" else None
        if cls is not None and classes.is_function(cls):
            return cls
        body = body.parent
    return None


# -- backward passes inside --------------------------------------------------------------------------------


def inner_backwards(program: Program, body: Body, backwards: list[Backward]) -> Iterator[InnerBackward]:
    """Backward passes in ``backward`` of what was computed there without a graph."""
    if not backwards or not runs_without_gradients(program, body):
        return
    for one in backwards:
        if one.target.off_graph and not one.target.flagged:
            yield InnerBackward(one.span, one.how, body.name, one.target.made)


def runs_without_gradients(program: Program, body: Body) -> bool:
    """Whether a body is the ``backward`` of a custom function."""
    cls = program.classes.get(body.parent) if body.parent is not None else None
    return body.name in ("backward", "vjp") and cls is not None and classes.is_function(cls)


__all__ = ["function_calls", "inner_backwards"]
