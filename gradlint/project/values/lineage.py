"""What a value is surely computed from, in one body: only what every path and every operation agrees on.

The interpreter's origins tell what a value *may* come from; a rule that says that backward raises needs what it *must*
come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import PARAMETER, Api, Cls, Fn, Method, Obj
from gradlint.facts import Forward
from gradlint.ir import events as ir
from gradlint.project.values.call_uses import is_cut
from gradlint.project.values.event_uses import values_and_indices
from gradlint.torch_model import (
    copying_factories,
    factories,
    foreign_functions,
    function_cuts,
    integer_casts,
    names_module,
    nondifferentiable,
    numpy_cuts,
    roles,
    saved,
    scalar_cuts,
)
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

OF_DISTRIBUTION = frozenset({"log_prob", "rsample"})
"""Methods of distributions whose results hang on all that these are made from, as an entropy may not."""


class Lineage:
    """The sure ancestors of values in one body."""

    def __init__(self, tracer: Tracer, run: Run) -> None:
        self.tracer, self.run, self.body = tracer, run, run.body
        self.known = tracer.definitions(run.body)
        self.forwards = {forward.span: forward for forward in run.recorder.all(Forward)}
        self._joined: dict[ir.Load, dict[ir.Event, None]] = {}

    def of(self, ref: ir.Ref) -> dict[ir.Event, None]:
        """The events whose results ``ref`` is surely computed from, on the graph all the way, nearest first."""
        found = dict.fromkeys(self.known.behind(ref, self.operands))
        for load in [event for event in found if isinstance(event, ir.Load)]:
            found.update(self._common(load))
        return found

    def _common(self, load: ir.Load) -> dict[ir.Event, None]:
        """What all branches agree on that may have given a variable its value, in the same iteration."""
        if load not in self._joined:
            self._joined[load] = {}
            stores = self.known.assigning(load)
            if len(stores) > 1 and None not in self.known.seen[load] and self._is_of_branches(stores, load):
                first, *others = (self.of(store.src) for store in stores)
                self._joined[load] = {event: None for event in first if all(event in other for other in others)}
        return self._joined[load]

    def _is_of_branches(self, stores: list[ir.Store], load: ir.Load) -> bool:
        """Whether assignments stand before a read, in the same loops: none is of an earlier iteration."""
        loops = self.known.loops(load)
        return all(self.known.loops(store) == loops and store.span < load.span for store in stores)

    def possible(self, ref: ir.Ref) -> dict[ir.Event, None]:
        """The events that ``ref`` may be computed from on the graph, through every assignment that is seen."""

        def further(event: ir.Event) -> Iterable[ir.Ref]:
            if not isinstance(event, ir.Load):
                return self.operands(event)
            return [store.src for store in self.known.assigning(event)]

        return dict.fromkeys(self.known.behind(ref, further))

    def operands(self, event: ir.Event) -> list[ir.Ref]:
        """The temporaries that the result of an event hangs on the graph with."""
        if isinstance(event, ir.Load):
            only = self.known.only(event)
            return [only.src] if only is not None else []
        if isinstance(event, (ir.Binary, ir.Unary, ir.Augment, ir.Call)) and self._is_off(event):
            return []
        if isinstance(event, ir.Binary):
            return [event.left, event.right]
        if isinstance(event, ir.Augment):
            return [event.target, event.value]
        if isinstance(event, ir.Unpack):
            whole = self.known.makers.get(event.src)
            if isinstance(whole, ir.Build) and event.index is not None and not whole.starred:
                return [whole.items[event.index]] if event.index < len(whole.items) else []
            return [] if event.index == 1 and values_and_indices(self.tracer, self.body, event.src) else [event.src]
        if isinstance(event, ir.Unary):
            return [event.src] if event.op != "not" else []
        if isinstance(event, ir.Item):
            return [event.obj]
        if isinstance(event, ir.Next):
            return [event.iterator]
        if isinstance(event, ir.Iterate):
            # The items of a container may have a graph each, the parts of a result share one.
            return [event.src] if self._is_result(event.src) else []
        if isinstance(event, ir.Build) and event.kind in ("list", "tuple"):
            return list(event.items)
        return list(self._given(event)) if isinstance(event, ir.Call) else []

    def _is_result(self, ref: ir.Ref) -> bool:
        maker = self.known.makers.get(ref)
        while isinstance(maker, ir.Load) and (sources := self.operands(maker)):
            maker = self.known.makers.get(sources[0])
        return isinstance(maker, ir.Call)

    def _is_off(self, event: ir.Event) -> bool:
        return bool(self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH)

    def _given(self, call: ir.Call) -> Iterator[ir.Ref]:
        """What a call hangs its result on: the arguments of modules and of torch's functions, the owner of a method."""
        given = [*call.args, *(ref for _, ref in call.keywords)]
        callees = self.tracer.value(self.body, call.func)
        method = self.known.makers.get(call.func)
        if roles.LOSS.search(self.tracer.label(self.body, call.func)):
            # A loss that gets more than outputs and targets may detach one of them.
            in_sight = any(isinstance(atom, (Fn, Cls)) for atom in callees)
            yield from given if len(call.args) == 2 and not call.keywords and not in_sight else ()
            return
        of_torch = bool(callees) and all(isinstance(atom, Obj) and names_module(atom.type) for atom in callees)
        if call.span in self.forwards or of_torch:
            yield from given
            return
        is_torch = bool(callees) and all(isinstance(atom, Api) and keeps(atom.name) for atom in callees)
        name = method.name if isinstance(method, ir.Attr) else ""
        if is_torch or (name == "scale" and len(given) == 1):
            yield from given
        elif isinstance(method, ir.Attr) and name in OF_DISTRIBUTION and self._is_distribution(method.obj):
            yield method.obj
        elif isinstance(method, ir.Attr) and is_of_tensor(name) and all(isinstance(atom, Method) for atom in callees):
            yield method.obj
            yield from given

    def _is_distribution(self, ref: ir.Ref) -> bool:
        """Whether a temporary is one of torch's distributions."""
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(
            isinstance(one, Obj) and one.type.startswith("torch.distributions.") for one in value
        )

    def is_tracked(self, ref: ir.Ref) -> bool:
        """Whether a temporary is on the graph for certain."""
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(self.run.plain.get(atom) == tensor.GRAPH for atom in value)

    def is_of_torch(self, call: ir.Call) -> bool:
        """Whether a call is one of a function of torch."""
        callees = self.tracer.value(self.body, call.func)
        return bool(callees) and all(isinstance(atom, Api) and atom.name.startswith("torch.") for atom in callees)

    def saves(self, event: ir.Event) -> bool:
        """Whether an operation of torch surely saves a tensor for its backward: what is known of its operands says."""
        operator = self._operator(event)
        if operator is None or self._is_off(event):
            return False
        name, operands = operator
        places = [self._place(ref) for ref in operands]
        tracked = [index for index, place in enumerate(places) if place and not place & ~tensor.ATTACHED]
        plain = [self.tracer.is_plain(self.body, ref) for ref in operands]
        kinds = "".join("n" if plain[index] else "t" if places[index] else "?" for index in range(len(operands)))
        row = saved(name, kinds) if tracked else None
        return row is not None and bool(row.saved_inputs(tracked) or row.saved_outputs(tracked))

    def _operator(self, event: ir.Event) -> tuple[str, tuple[ir.Ref, ...]] | None:
        """The name of the operation that an event is, and its operands."""
        if isinstance(event, ir.Binary):
            return event.op, (event.left, event.right)
        if not isinstance(event, ir.Call) or event.keywords or event.starred:
            return None
        callees = self.tracer.value(self.body, event.func)
        names = {atom.name for atom in callees if isinstance(atom, Api) and atom.name.startswith("torch.")}
        if len(names) == len(callees) == 1:
            return names.pop(), event.args
        method = self.known.makers.get(event.func)
        if isinstance(method, ir.Attr) and callees and all(isinstance(atom, Method) for atom in callees):
            return method.name, (method.obj, *event.args)
        return None

    def _place(self, ref: ir.Ref) -> int:
        """Where a temporary stands on the graph; 0 if it is neither a tensor that the body has made nor a parameter."""
        value = self.tracer.value(self.body, ref)
        place = 0
        for atom in value:
            known = self.run.plain.get(atom, 0) if isinstance(atom, Obj) else 0
            if not known and isinstance(atom, Obj) and atom.type == PARAMETER:
                known = self.run.places.get(atom, tensor.NEW_LEAF).graph
            if not known:
                return 0
            place |= known
        return place

    def records(self, event: ir.Event) -> bool:
        """Whether an event surely makes something whose backward needs saved tensors: a module with weights ran."""
        forward = self.forwards.get(event.span) if isinstance(event, ir.Call) else None
        if forward is None or not forward.result.atoms or self._is_off(event):
            return False
        return all(self.run.plain.get(atom) == tensor.GRAPH for atom in forward.result.atoms if isinstance(atom, Obj))


def is_of_tensor(name: str) -> bool:
    """Whether a method of tensors keeps the graph."""
    return name in tensor_methods() and not is_cut(name)


def keeps(name: str) -> bool:
    """Whether a function of torch, one that computes as torch's do, or ``sum``, keeps its arguments on the graph."""
    last = name.rpartition(".")[2]
    if name == "builtins.sum" or name in foreign_functions():
        return True
    if not name.startswith("torch.") or name.startswith(("torch.autograd.", "torch.func.", "torch.distributed.")):
        return False
    if last in nondifferentiable() or last in integer_casts() or last in scalar_cuts() or last in numpy_cuts():
        return False
    return name not in copying_factories() and name not in function_cuts() and name not in factories()
