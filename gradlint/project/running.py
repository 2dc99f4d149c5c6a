"""State that is updated from its own old value with something on the graph: averages, banks, best values, buffers.

The state joins the graph then, and drags the graphs of all earlier steps along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import PARAMETER, Api, Method, Obj
from gradlint.facts import Edit
from gradlint.facts.lifetime import RunningGraph
from gradlint.ir import events as ir
from gradlint.project import demands, purpose
from gradlint.project.uses import OFF, PASSED, RETURNED, WALKED, YIELDED, class_around, owner_of
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.project.definitions import Definitions
    from gradlint.project.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.uses import Node

RUNNING = re.compile(
    r"(?:^|_)(?:ema|running|moving|momentum|cent(?:er|re|roid)s?|bank|queue|best|avg|average|stats?|prototypes?|shadow)(?:_|$)"
)
"""Names of state that statistics and memories of earlier steps are kept in."""
AVERAGES = re.compile(r"(?:^|_)(?:ema|shadow|avg|average|averaged|running|moving)(?:_|s?$)")
"""Names of containers of averages, one per parameter."""
WRITES = frozenset(
    "add_ sub_ copy_ lerp_ addcmul_ index_add_ index_copy_ scatter_ scatter_add_ masked_scatter_ maximum_".split()
)
"""Methods that write what they are given into a tensor."""
TAKES = frozenset({"builtins.max", "builtins.min", "builtins.sum"})


class Running:
    """The updates of running state in one body."""

    def __init__(self, program: Program, evaluation: Evaluation, run: Run) -> None:
        self.program, self.tracer, self.run, self.body = program, evaluation.tracer, run, run.body

    @cached_property
    def known(self) -> Definitions:
        """The reads and writes of the body."""
        return self.tracer.definitions(self.body)

    def graphs(self) -> Iterator[RunningGraph]:
        """Yield the updates that put state on the graph, in source order."""
        found: dict[ir.Span, RunningGraph] = {}
        for event in self.known.blocks:
            one = None
            if isinstance(event, ir.SetAttr):
                one = self._assigned(event)
            elif isinstance(event, ir.SetItem):
                one = self._put(event)
            elif isinstance(event, ir.Call):
                one = self._written(event)
            if one is not None and not self._is_off(event):
                found.setdefault(one.span, one)
        yield from sorted(found.values(), key=lambda one: one.span)

    def _is_off(self, event: ir.Event) -> bool:
        return bool(self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH)

    def _made(self, event: ir.Event, store: str, value: ir.Ref, source: ir.Ref) -> RunningGraph:
        what = self.tracer.label(self.body, value) or "the new value"
        reasons = ((self.known.makers[source].span, "on the graph"), (event.span, "written into the state here"))
        return RunningGraph(event.span, store or "it", what, reasons)

    # -- forms ---------------------------------------------------------------------------------------------

    def _assigned(self, event: ir.SetAttr) -> RunningGraph | None:
        """``self.x = f(self.x, value)``."""
        owner = owner_of(self.tracer, self.body, event.obj)
        if owner is None or isinstance(self.known.makers.get(event.src), ir.Augment):
            return None
        node: Node = ("attr", owner, event.name)
        fed = self._fed(event.src, node)
        if fed is None or not self._is_state(node) or self._is_begun_here(event):
            return None
        return self._made(event, f"{self.tracer.label(self.body, event.obj)}.{event.name}", fed, event.src)

    def _put(self, event: ir.SetItem) -> RunningGraph | None:
        """``self.bank[i] = value``, and ``shadow[name] = f(shadow[name], parameter)``."""
        node = self._root(event.obj)
        if node is None or isinstance(self.known.makers.get(event.src), ir.Augment):
            return None
        store = self.tracer.label(self.body, event.obj)
        if self._holds_averages(node):
            fed = self._fed(event.src, node)
            return self._made(event, store, fed, event.src) if fed is not None and self._is_parameter(fed) else None
        if node[0] != "attr" or not self._is_state(node) or not self._is_tracked(event.src):
            return None
        return self._made(event, store, event.src, event.src)

    def _written(self, event: ir.Call) -> RunningGraph | None:
        """``self.x.mul_(d).add_(value)``; ``average.add_(parameter)`` for what was frozen or detached."""
        method = self.known.makers.get(event.func)
        if not isinstance(method, ir.Attr) or method.name not in WRITES:
            return None
        given = [*event.args, *(ref for _, ref in event.keywords)]
        value = next((ref for ref in given if self._is_tracked(ref)), None)
        if value is None:
            return None
        target = self._edited(method.obj)
        if is_detached(self.known.makers.get(target)):
            return None
        node = self._root(target)
        owned = node is not None and node[0] == "attr" and self._is_state(node)
        average = self._is_parameter(value) and self._is_plain(event) and self._is_copy(target)
        if not owned and not average and not (method.name == "add_" and self._is_kept_elsewhere(event, target, value)):
            return None
        return self._made(event, self.tracer.label(self.body, target), value, value)

    # -- what is state -------------------------------------------------------------------------------------

    def _edited(self, ref: ir.Ref) -> ir.Ref:
        """What a chain of edits in place is about: ``x`` in ``x.mul_(d).add_(v)``."""
        while isinstance(call := self.known.makers.get(ref), ir.Call):
            method = self.known.makers.get(call.func)
            if not isinstance(method, ir.Attr) or not method.name.endswith("_"):
                break
            ref = method.obj
        return ref

    def _root(self, ref: ir.Ref) -> Node | None:
        """The attribute or the variable that a temporary is, or is a part of."""
        while isinstance(maker := self.known.makers.get(ref), ir.Item):
            ref = maker.obj
        if isinstance(maker, ir.Attr):
            owner = owner_of(self.tracer, self.body, maker.obj)
            return ("attr", owner, maker.name) if owner is not None else None
        return ("name", self.body, maker.name) if isinstance(maker, ir.Load) else None

    def _is_state(self, node: Node) -> bool:
        """Whether an attribute lives on from step to step, by its name, as a buffer, or by what it is read for."""
        name = str(node[2])
        if self.body.name.startswith("__") and self.body.name != "__call__":
            return False
        if name in self._buffers or RUNNING.search(name):
            return True
        trace = self.tracer.trace(node)
        return bool(trace.of(OFF)) and not trace.of(RETURNED, YIELDED, PASSED, WALKED)

    @cached_property
    def _buffers(self) -> frozenset[str]:
        """The buffers that methods of the class register."""
        around = class_around(self.body)
        found: set[str] = set()
        for method in around[1].children if around is not None else ():
            known = self.tracer.definitions(method)
            for call in known.calls.values():
                maker = known.makers.get(call.func)
                if isinstance(maker, ir.Attr) and maker.name == "register_buffer" and call.args:
                    first = known.makers.get(call.args[0])
                    found |= {str(first.value)} if isinstance(first, ir.Const) else set()
        return frozenset(found)

    def _is_begun_here(self, event: ir.SetAttr) -> bool:
        """Whether the body also gives the attribute a first value, or takes it off the graph, at every call."""
        others = [
            other
            for other in self.known.blocks
            if isinstance(other, ir.SetAttr) and other.name == event.name and other is not event
        ]
        block = self.known.blocks[event]
        always = self.run.unconditional()
        return any(self.known.blocks[other].index in always or self.known.blocks[other] is block for other in others)

    # -- what is on the graph ------------------------------------------------------------------------------

    def _fed(self, ref: ir.Ref, node: Node) -> ir.Ref | None:
        """What on the graph is mixed into the old state, if ``ref`` is computed from that by arithmetic alone."""
        parts = self._parts(ref)
        if not any(self._root(part) == node for part in parts):
            return None
        # What has nothing of the old state in it, and is no part of such a thing itself, is what is mixed in.
        fed = [part for part in parts if self._is_tracked(part) and not self._has(part, node)]
        return fed[0] if fed else None

    def _has(self, ref: ir.Ref, node: Node) -> bool:
        return any(self._root(part) == node for part in self._parts(ref))

    def _parts(self, ref: ir.Ref) -> list[ir.Ref]:
        """A temporary and all that arithmetic computes it from, outermost first; not what was taken off the graph."""
        pending, seen = [ref], dict[ir.Ref, None]()
        while pending:
            current = pending.pop(0)
            if current not in seen and not self._is_off_graph(current):
                seen[current] = None
                pending.extend(self._mixed(self.known.makers.get(current)))
        return list(seen)

    def _is_off_graph(self, ref: ir.Ref) -> bool:
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(self._place(atom) == tensor.CUT for atom in value)

    def _mixed(self, maker: ir.Event | None) -> list[ir.Ref]:
        """What an arithmetic operation is made of; nothing for any other."""
        if isinstance(maker, ir.Binary):
            return [maker.left, maker.right]
        if isinstance(maker, ir.Unary):
            return [maker.src]
        if isinstance(maker, ir.Build) and maker.kind in ("list", "tuple"):
            return list(maker.items)
        if not isinstance(maker, ir.Call):
            return []
        callees = self.tracer.value(self.body, maker.func)
        given = [*maker.args, *(ref for _, ref in maker.keywords)]
        if callees and all(isinstance(a, Api) and (a.name.startswith("torch.") or a.name in TAKES) for a in callees):
            return given if "Module" not in str(callees) else []
        method = self.known.makers.get(maker.func)
        is_method = isinstance(method, ir.Attr) and method.name in tensor_methods()
        if is_method and all(isinstance(atom, Method) for atom in callees):
            assert isinstance(method, ir.Attr)
            return [] if method.name.startswith("detach") else [method.obj, *given]
        return []

    def _is_tracked(self, ref: ir.Ref) -> bool:
        """Whether a temporary is on the graph for certain."""
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(self._place(atom) in (tensor.GRAPH, tensor.LEAF) for atom in value)

    def _place(self, atom: object) -> int:
        if not isinstance(atom, Obj):
            return tensor.ANY
        if atom in self.run.plain:
            return self.run.plain[atom]
        place = self.run.places.get(atom)
        return place.graph if place is not None else tensor.ANY

    def _is_parameter(self, ref: ir.Ref) -> bool:
        value = self.tracer.value(self.body, ref)
        return bool(value) and any(self._comes_from_parameter(atom, 0) for atom in value)

    def _comes_from_parameter(self, atom: object, depth: int) -> bool:
        if isinstance(atom, Obj) and atom.type == PARAMETER:
            return True
        origins = self.run.origins.get(atom, set()) if isinstance(atom, Obj) and depth < 4 else set()
        return any(self._comes_from_parameter(origin, depth + 1) for origin in origins)

    def _is_plain(self, event: ir.Call) -> bool:
        """Whether what is edited was frozen or detached for certain."""
        edits = (edit for edit in self.run.recorder.all(Edit) if edit.span == event.span)
        # From the second iteration on it is on the graph itself, which is the mistake.
        return any(
            edit.target.graph & tensor.NO_GRAPH and not edit.target.graph & (tensor.LEAF | tensor.ANY) for edit in edits
        )

    def _is_kept_elsewhere(self, event: ir.Call, target: ir.Ref, value: ir.Ref) -> bool:
        """Whether a statement adds what the body goes backward from to something that a call looks up."""
        looked_up = isinstance(maker := self.known.makers.get(target), ir.Call) and maker.args
        if not looked_up or not all(isinstance(one, ir.Discard) for one in self.known.readers.get(event.dst, ())):
            return False
        atoms = self.tracer.value(self.body, value)
        passes = self.run.recorder.backwards()
        return any(atoms & demands.ancestors(self.run, backward.target.atoms) for backward in passes)

    def _is_copy(self, ref: ir.Ref) -> bool:
        """Whether something is a parameter itself, or an item of a container: what an average is written into."""
        value = self.tracer.value(self.body, ref)
        is_parameter = bool(value) and all(isinstance(atom, Obj) and atom.type == PARAMETER for atom in value)
        return is_parameter or isinstance(self.known.makers.get(ref), ir.Item)

    def _holds_averages(self, node: Node) -> bool:
        """Whether something is called like a container of averages, rather than a tensor that is filled in parts."""
        return str(node[2]) not in self._buffers and AVERAGES.search(str(node[2])) is not None


def is_detached(maker: ir.Event | None) -> bool:
    """Whether something is ``x.data``."""
    return isinstance(maker, ir.Attr) and maker.name == "data"


def running_graphs(program: Program, path: str, evaluation: Evaluation, run: Run) -> list[RunningGraph]:
    """The updates of running state in one body that put it on the graph."""
    if run.body.kind != "function" or purpose.is_test(run.body, path):
        return []
    return list(Running(program, evaluation, run).graphs())
