"""State that is updated from its own old value with something on the graph: averages, banks, best values, buffers.

The state joins the graph then, and drags the graphs of all earlier steps along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import PARAMETER, Fn, Obj
from gradlint.facts import Edit
from gradlint.facts.lifetime import RunningGraph
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.growing import spelled_ref
from gradlint.project.lifetime.optimizer_states import optimizer_states
from gradlint.project.values import demands
from gradlint.project.values.joining import joins, named_attribute
from gradlint.project.values.mixing import LONGEST, Mixing
from gradlint.project.values.uses import OFF, PASSED, RETURNED, WALKED, YIELDED, class_around, owner_of
from gradlint.torch_model import views

if TYPE_CHECKING:
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Node

RUNNING = re.compile(
    r"(?:^|_)(?:ema|running|moving|momentum|cent(?:er|re|roid)s?|bank|queue|best|avg|average|stats?|prototypes?|shadow)(?:_|$)"
)
"""Names of state that statistics and memories of earlier steps are kept in."""
AVERAGES = re.compile(r"(?:^|_)(?:ema|shadow|avg|average|averaged|running|moving)(?:_|s?$)")
"""Names of containers of averages, one per parameter."""
HOLDS_PARAMETER = re.compile(r"^(?:param|parameter|weight)$")
"""Names of variables that hold a parameter of a model."""
FOR_INFERENCE = re.compile(r"^(?:use_\w*cache|incremental\w*|is_inference|inference)$")
"""Names of parameters by which a caller asks for what is kept from one token to the next."""
WRITES = frozenset(
    "add_ sub_ copy_ lerp_ addcmul_ index_add_ index_copy_ scatter_ scatter_add_ masked_scatter_ maximum_".split()
)
"""Methods that write what they are given into a tensor."""
EXTREMES = frozenset({"max", "min", "maximum", "minimum", "fmax", "fmin"})


class Running(Mixing):
    """The updates of running state in one body."""

    def __init__(self, program: Program, evaluation: Evaluation, run: Run) -> None:
        super().__init__(evaluation.tracer, run)
        self.program, self.evaluation, self.given = program, evaluation, evaluation.given

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
                one = self._written(event) or self._named(event) or self._by_helper(event)
            if one is not None and not self._is_off(event):
                found.setdefault(one.span, one)
        yield from sorted(found.values(), key=lambda one: one.span)

    def _is_off(self, event: ir.Event) -> bool:
        off = bool(self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH)
        return off or any(self.tracer.order(self.body).precedes(asked, event) for asked in self._asked_for_inference)

    @cached_property
    def _asked_for_inference(self) -> list[ir.Assume]:
        """The branches that a caller asks for who generates."""
        assumes = ((assume, self.known.makers.get(assume.cond)) for assume in self.known.events(ir.Assume))
        return [
            assume
            for assume, asked in assumes
            if assume.truth and isinstance(asked, ir.Load) and FOR_INFERENCE.search(asked.name)
        ]

    def _made(self, event: ir.Event, store: str, value: ir.Ref, source: ir.Ref) -> RunningGraph:
        what = self.tracer.label(self.body, value) or "the new value"
        reasons = ((self.known.makers[source].span, "on the graph"), (event.span, "written into the state here"))
        return RunningGraph(event.span, store or "it", what, reasons)

    # -- forms ---------------------------------------------------------------------------------------------

    def _assigned(self, event: ir.SetAttr) -> RunningGraph | None:
        """``self.x = f(self.x, value)``, and ``self.x += value``."""
        owner = owner_of(self.tracer, self.body, event.obj)
        if owner is None:
            return None
        node: Node = ("attr", owner, event.name)
        made = self.known.makers.get(event.src)
        if isinstance(made, ir.Augment):
            return self._added(event, made, node)
        fed = self._fed(event.src, node) or self._handed_back(made, node)
        if fed is None or self._is_begun_here(event):
            return None
        if not self._is_state(node) and not self._is_statistic(event.src, node, fed):
            return None
        store = f"{self.tracer.label(self.body, event.obj)}.{event.name}"
        only = self.known.only(made) if isinstance(made, ir.Load) else None
        return self._made(event, store, fed, event.src if only is None else only.src)

    def _added(self, event: ir.SetAttr, made: ir.Augment, node: Node) -> RunningGraph | None:
        """``self.x += value``; a running sum in a loop is told by what becomes of the forward."""
        if self._root(made.target) != node or not self._is_tracked(made.value) or self.known.loops(event):
            return None
        if not self._is_state(node) or self._is_begun_here(event) or made.span in self._stored:
            return None
        store = f"{self.tracer.label(self.body, event.obj)}.{event.name}"
        return self._made(made, store, made.value, made.value)

    def _put(self, event: ir.SetItem) -> RunningGraph | None:
        """``self.bank[i] = value``, and ``shadow[name] = f(shadow[name], parameter)``."""
        node = self._root(event.obj)
        if node is None or isinstance(self.known.makers.get(event.src), ir.Augment):
            return None
        store = self.tracer.label(self.body, event.obj)
        if self._holds_averages(node):
            fed = self._fed(event.src, node)
            return self._made(event, store, fed, event.src) if fed is not None and self._is_parameter(fed) else None
        if node[0] != "attr" or not self._is_named_state(node) or not self._is_tracked(event.src):
            return None
        if self._is_new_parameter(event.src):
            return None
        return self._made(event, store, event.src, event.src)

    def _is_new_parameter(self, ref: ir.Ref) -> bool:
        """Whether a parameter is made just here: it has no graph, and what holds it is no tensor."""
        made = self.known.makers.get(ref)
        atoms = self.tracer.value(self.body, ref)
        return isinstance(made, ir.Call) and all(isinstance(atom, Obj) and atom.type == PARAMETER for atom in atoms)

    def _written(self, event: ir.Call) -> RunningGraph | None:
        """``self.x.mul_(d).add_(value)``; ``average.add_(parameter)`` for what was frozen or detached."""
        method = self.known.makers.get(event.func)
        if not isinstance(method, ir.Attr) or method.name not in WRITES:
            return None
        given = [*event.args, *(ref for _, ref in event.keywords)]
        target = self._edited(method.obj)
        node = self._root(target)
        owned = node is not None and node[0] == "attr" and self._is_state(node)
        copied = self._is_copy(target) and self._is_plain(event)
        looked_up = method.name == "add_" and self._is_looked_up(event, target)
        hung = next((ref for ref in given if self._is_hung_on(target, ref)), None)
        if not (owned or copied or looked_up or hung is not None):
            return None
        value = next((ref for ref in given if self._is_tracked(ref)), None)
        if value is None:
            return self._made(event, self.tracer.label(self.body, target), hung, hung) if hung is not None else None
        if is_detached(self.known.makers.get(target)):
            return None
        if not (owned or (copied and self._is_parameter(value)) or (looked_up and self._is_walked(value))):
            return None
        return self._made(event, self.tracer.label(self.body, target), value, value)

    def _named(self, event: ir.Call) -> RunningGraph | None:
        """``self.register_buffer(name, f(getattr(self, name), value))``, and the same with ``setattr``."""
        stored = named_attribute(self.known, event, "register_buffer", "setattr")
        owner = owner_of(self.tracer, self.body, stored[0]) if stored is not None else None
        if stored is None or owner is None:
            return None
        place = spelled_ref(self.known, stored[1])
        for part in self._parts(event.args[-1]):
            maker = self.known.makers.get(part)
            read = named_attribute(self.known, maker, "getattr") if isinstance(maker, ir.Call) else None
            if read is None or spelled_ref(self.known, read[1]) != place or not self._buffers:
                continue
            rest = (one for one in self._parts(event.args[-1]) if one not in self._parts(part))
            fed = next((one for one in rest if self._is_tracked(one) and part not in self._parts(one)), None)
            if fed is not None:
                name = ", ".join(self.tracer.label(self.body, ref) for ref in stored)
                return self._made(event, f"getattr({name})", fed, fed)
        return None

    def _by_helper(self, event: ir.Call) -> RunningGraph | None:
        """``update(self.average, value)``: a function of the file writes one argument into another."""
        if not all(isinstance(one, ir.Discard) for one in self.known.readers.get(event.dst, ())):
            return None
        given = (*event.args, *(ref for _, ref in event.keywords))
        nodes = [(ref, node) for ref in given if (node := self._root(ref)) is not None and node[0] == "attr"]
        states = [ref for ref, node in nodes if self._is_state(node)]
        for store, value in self._joined(event, states):
            return self._made(event, self.tracer.label(self.body, store), value, value)
        return None

    def _handed_back(self, made: ir.Event | None, node: Node) -> ir.Ref | None:
        """What ``x.lerp_(value)`` in a function writes into the old state, which the function hands back."""
        if not isinstance(made, ir.Call):
            return None
        olds = [ref for ref in (*made.args, *(ref for _, ref in made.keywords)) if self._root(ref) == node]
        return next((value for _, value in self._joined(made, olds)), None)

    def _joined(self, event: ir.Call, states: Sequence[ir.Ref]) -> Iterator[tuple[ir.Ref, ir.Ref]]:
        """Those of ``states`` that a function of the file writes another argument into, and this, on the graph."""
        fns = [atom for atom in self.tracer.value(self.body, event.func) if isinstance(atom, Fn)] if states else []
        for store in states if fns else ():
            for value in (*event.args, *(ref for _, ref in event.keywords)):
                joined = any(joins(self.tracer, event, fn, store, value) for fn in fns if value != store)
                if joined and self._is_tracked(value):
                    yield store, value

    def _is_tracked(self, ref: ir.Ref) -> bool:
        """Whether a temporary is on the graph for certain: by what the body does, or by what its callers hand it."""
        return super()._is_tracked(ref) or self.given.behind(self.run, ref) is not None

    # -- what is state -------------------------------------------------------------------------------------

    def _edited(self, ref: ir.Ref) -> ir.Ref:
        """What a chain of edits in place is about: ``x`` in ``x.mul_(d).add_(v)``."""
        while isinstance(call := self.known.makers.get(ref), ir.Call):
            method = self.known.makers.get(call.func)
            if not isinstance(method, ir.Attr) or not method.name.endswith("_"):
                break
            ref = method.obj
        return ref

    def _is_state(self, node: Node) -> bool:
        """Whether an attribute lives on from step to step, by its name, as a buffer, or by what it is read for."""
        if self._is_named_state(node):
            return True
        if self._is_special:
            return False
        trace = self.tracer.trace(node)
        return bool(trace.of(OFF)) and not trace.of(RETURNED, YIELDED, PASSED, WALKED)

    def _is_named_state(self, node: Node) -> bool:
        """The same, by its name or as a buffer."""
        name = str(node[2])
        return not self._is_special and (name in self._buffers or RUNNING.search(name) is not None)

    @property
    def _is_special(self) -> bool:
        """Whether Python itself calls the method: what it sets is set up."""
        return self.body.name.startswith("__") and self.body.name != "__call__"

    def _is_statistic(self, ref: ir.Ref, node: Node, fed: ir.Ref) -> bool:
        """Whether a value is a maximum, a minimum or a decayed average of the old one and what is ``fed`` to it."""
        if not self._is_set_up_once(node):
            return False
        for part in self._alternatives(ref):
            maker = self.known.makers.get(part)
            if isinstance(maker, ir.Call) and any(self._root(one) == node for one in maker.args):
                func = self.known.makers.get(maker.func)
                return isinstance(func, (ir.Load, ir.Attr)) and func.name in EXTREMES
            if isinstance(maker, ir.Binary) and maker.op == "+":
                return not self._is_in_module and self._is_decayed(maker, node)
        return False

    def _is_decayed(self, total: ir.Binary, node: Node) -> bool:
        """Whether a sum weighs the old value and the new one: ``d * old + (1 - d) * new``."""
        sides = [self.known.makers.get(side) for side in (total.left, total.right)]
        products = [side for side in sides if isinstance(side, ir.Binary) and side.op == "*"]
        olds = [one for one in products if any(self._root(ref) == node for ref in (one.left, one.right))]
        return len(products) == 2 and len(olds) == 1

    @cached_property
    def _is_in_module(self) -> bool:
        return purpose.is_method_of_module(self.program, self.body)

    def _is_set_up_once(self, node: Node) -> bool:
        """Whether only ``__init__`` gives an attribute another value: a state that is reset may be unrolled."""
        around = class_around(self.body)
        for method in self.tracer.methods(around[1]) if around is not None else ():
            if method is self.body or method.name == "__init__":
                continue
            if any(event.name == node[2] for event in self.tracer.definitions(method).events(ir.SetAttr)):
                return False
        return True

    @cached_property
    def _stored(self) -> frozenset[ir.Span]:
        """The stores that keep graphs which nobody walks, of which another fact tells."""
        return frozenset(kept.span for kept in self.evaluation.kept_graphs(self.body))

    @cached_property
    def _buffers(self) -> frozenset[str]:
        """The buffers that methods of the class register."""
        around = class_around(self.body)
        found: set[str] = set()
        for method in self.tracer.methods(around[1]) if around is not None else ():
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

    def _is_plain(self, event: ir.Call) -> bool:
        """Whether what is edited was frozen or detached for certain."""
        edits = (edit for edit in self.run.recorder.all(Edit) if edit.span == event.span)
        # From the second iteration on it is on the graph itself, which is the mistake.
        return any(
            edit.target.graph & tensor.NO_GRAPH and not edit.target.graph & (tensor.LEAF | tensor.ANY) for edit in edits
        )

    def _is_looked_up(self, event: ir.Call, target: ir.Ref) -> bool:
        """Whether a statement adds something to what a call looks up: it is kept elsewhere."""
        maker = self.known.makers.get(target)
        is_statement = all(isinstance(one, ir.Discard) for one in self.known.readers.get(event.dst, ()))
        return isinstance(maker, ir.Call) and bool(maker.args) and is_statement

    def _is_walked(self, value: ir.Ref) -> bool:
        """Whether the body goes backward from something, or from what is computed from it."""
        atoms = self.tracer.value(self.body, value)
        passes = self.run.recorder.backwards()
        return any(atoms & demands.ancestors(self.run, backward.target.atoms) for backward in passes)

    def _is_hung_on(self, target: ir.Ref, value: ir.Ref) -> bool:
        """Whether a parameter is written, as it is or seen otherwise, into a tensor that is its own attribute."""
        while isinstance(call := self.known.makers.get(target), ir.Call):
            method = self.known.makers.get(call.func)
            target = method.obj if isinstance(method, ir.Attr) and method.name in views() else ir.OPAQUE_REF
        held = self.known.makers.get(target)
        if not isinstance(held, ir.Attr) or held.name in ("data", "grad"):
            return False
        owner, source = self.known.makers.get(held.obj), self._seen_otherwise(value)
        if not isinstance(owner, ir.Load) or source is None or not HOLDS_PARAMETER.search(owner.name):
            return False
        return owner.name == source.name and self.known.seen.get(owner) == self.known.seen.get(source)

    def _seen_otherwise(self, ref: ir.Ref) -> ir.Load | None:
        """The variable that a temporary is a view of, or a copy on the graph; None if it is none."""
        for _ in range(LONGEST):
            maker = self.known.makers.get(ref)
            if isinstance(maker, ir.Load):
                only = self.known.only(maker)
                if only is None:
                    return maker
                ref = only.src
            elif isinstance(maker, ir.Item):
                ref = maker.obj
            elif isinstance(maker, ir.Call) and isinstance(method := self.known.makers.get(maker.func), ir.Attr):
                ref = method.obj if method.name in views() or method.name in ("contiguous", "clone") else ir.OPAQUE_REF
            else:
                return None
        return None

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
    if run.body.kind not in ("function", "module") or purpose.is_test(run.body, path):
        return []
    return [*Running(program, evaluation, run).graphs(), *optimizer_states(program, evaluation.tracer, run)]
