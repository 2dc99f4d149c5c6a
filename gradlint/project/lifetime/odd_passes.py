"""Calls about a backward pass that do not do what they are meant to: what it starts from, and with which flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import GRAD, ITERATOR, Api, Literal, Obj, Value
from gradlint.facts import Backward, Clear, GradFlag, Touch
from gradlint.facts.lifetime import OddPass
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.flat_terms import PENALTY, FlatTerms, is_penalty
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import KEPT, PASSED, RETURNED, STORED, YIELDED, class_around

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.protocol.protocol import Op, Protocol
    from gradlint.project.values.uses import Trace

PARALLEL = frozenset({"torch.nn.DataParallel", "torch.nn.parallel.DataParallel"})
WEIGHTED = frozenset(
    """CrossEntropyLoss NLLLoss NLLLoss2d BCELoss BCEWithLogitsLoss MultiMarginLoss MultiLabelSoftMarginLoss
    PoissonNLLLoss GaussianNLLLoss HuberLoss SmoothL1Loss TripletMarginLoss CTCLoss TripletMarginWithDistanceLoss
    AdaptiveLogSoftmaxWithLoss CosineEmbeddingLoss MarginRankingLoss HingeEmbeddingLoss""".split()
)
"""Losses whose first argument is no flag."""
COPIES = frozenset({"clone", "cpu", "cuda", "to", "float", "half", "contiguous", "squeeze", "unsqueeze"})
"""Methods that copy a tensor, or see it otherwise, on the graph."""
EMBEDDINGS = frozenset({"get_input_embeddings", "get_output_embeddings"})
"""Methods of language models that return a layer."""
LONGEST = 8
"""How many steps from what is saved to the weight that it was cut out of."""
SIZED = ("ones", "zeros", "rand", "randn", "empty")
"""Functions that make a tensor of the size that they are given."""
FLAGS = re.compile(r"size_average|reduc|average|flag", re.IGNORECASE)


class OddPasses:
    """Such calls in one body."""

    def __init__(self, evaluation: Evaluation, protocol: Protocol) -> None:
        self.protocol, self.run, self.body = protocol, protocol.run, protocol.run.body
        self.tracer, self.program, self.frozen = evaluation.tracer, evaluation.program, evaluation.frozen
        self.known = self.tracer.definitions(self.body)
        self.lineage = Lineage(self.tracer, self.run)

    def calls(self) -> Iterator[OddPass]:
        """Yield them in source order, each place once."""
        found: dict[ir.Span, OddPass] = {}
        for op in self.protocol.backwards:
            call = self.known.calls.get(op.what.span)
            if call is not None:
                for one in self._of_pass(op, call):
                    found.setdefault(one.span, one)
        for one in (*self._penalties(), *self._again()):
            found.setdefault(one.span, one)
        for call in self.known.calls.values():
            for one in self._of_call(call):
                found.setdefault(one.span, one)
        for flag in self.run.recorder.all(GradFlag):
            for one in self._late(flag):
                found.setdefault(one.span, one)
        yield from sorted(found.values(), key=lambda one: one.span)

    def _of_pass(self, op: Op, call: ir.Call) -> Iterator[OddPass]:
        assert isinstance(op.what, Backward)
        method = self.known.makers.get(call.func)
        if op.what.how != "backward" or op.what.through or not isinstance(method, ir.Attr):
            return
        flags = dict(call.keywords)
        if not call.args and "gradient" not in flags and None not in flags:
            yield from self._start(call, method.obj, op.what.call)
        yield from self._flat(call, method.obj)
        if "create_graph" in flags and self._is(flags["create_graph"], True) and not self._clears(op):
            yield OddPass(call.span, "kept", op.what.call)
        elif "retain_graph" in flags and self._is(flags["retain_graph"], True) and self._is_needless(op, method.obj):
            yield OddPass(call.span, "needless", op.what.call)

    # -- where a pass starts -------------------------------------------------------------------------------

    def _start(self, call: ir.Call, target: ir.Ref, shown: str) -> Iterator[OddPass]:
        """A target that has many values: a loss that was not reduced, or one loss per device."""
        for event in self.known.behind(target, self._scaled):
            if isinstance(event, ir.Call):
                form = self._many(event, direct=isinstance(self.known.makers.get(target), (ir.Load, ir.Call)))
                if form:
                    yield OddPass(call.span, form, shown, ((event.span, "computed here"),))
                    return

    def _scaled(self, event: ir.Event) -> list[ir.Ref]:
        """What the result of an event has as many values as: through variables, signs and weights."""
        if isinstance(event, (ir.Load, ir.Unary)) or (isinstance(event, ir.Unpack) and event.index == 0):
            return self.lineage.operands(event)
        if isinstance(event, ir.Binary) and event.op in ("*", "/", "+", "-"):
            return [side for side in (event.left, event.right) if not self.tracer.is_plain(self.body, side)]
        return []

    def _many(self, call: ir.Call, *, direct: bool) -> str:
        """Why a call returns many values, if it does for certain."""
        callees = self.tracer.value(self.body, call.func)
        keywords = dict(call.keywords)
        if self._is_leaf_of_many(call):
            return "non-scalar"
        if callees and all(isinstance(atom, Api) and atom.name.startswith("torch.nn.functional.") for atom in callees):
            return "non-scalar" if self._is(keywords.get("reduction"), "none") else ""
        makers = [atom.event for atom in callees if isinstance(atom, Obj) and atom.type.startswith("torch.nn.")]
        if makers and len(makers) == len(callees) and all(self._is_unreduced(maker) for maker in makers):
            return "non-scalar"
        return "data-parallel" if direct and self._is_parallel(call.func) else ""

    def _is_leaf_of_many(self, call: ir.Call) -> bool:
        """Whether a call makes a tensor of more than one value, as its numbers tell: ``torch.ones(2)``."""
        if call.starred or not any(self._is_api(call, f"torch.{name}") for name in (*SIZED, "tensor")):
            return False
        refs = call.args
        made = self.known.makers.get(refs[0]) if len(refs) == 1 else None
        if isinstance(made, ir.Build) and made.kind in ("list", "tuple") and not made.starred:
            if self._is_api(call, "torch.tensor"):
                return len(made.items) > 1
            refs = made.items
        if self._is_api(call, "torch.tensor"):
            return False
        sizes = [self.known.makers.get(ref) for ref in refs]
        numbers = [one.value for one in sizes if isinstance(one, ir.Const) and isinstance(one.value, int)]
        return len(numbers) == len(sizes) > 0 and prod(numbers) > 1

    def _is_parallel(self, func: ir.Ref) -> bool:
        """Whether a module was wrapped, on some path, so that it runs on several devices."""
        load = self.known.makers.get(func)
        for store in self.known.assigning(load) if isinstance(load, ir.Load) else ():
            maker = self.known.makers.get(store.src)
            if isinstance(maker, ir.Call) and any(self._is_api(maker, name) for name in PARALLEL):
                return True
        return False

    def _is_unreduced(self, maker: ir.Event) -> bool:
        """Whether a loss was made with ``reduction="none"``."""
        if not isinstance(maker, ir.Call):
            return False
        flag = dict(maker.keywords).get("reduction")
        body = self._body_of(maker)
        made = self.tracer.definitions(body).makers.get(flag) if body is not None and flag is not None else None
        return isinstance(made, ir.Const) and made.value == "none"

    def _body_of(self, event: ir.Event) -> Body | None:
        """The body that an event stands in: this one, or another method of the class."""
        around = class_around(self.body)
        bodies = [self.body, *(self.tracer.methods(around[1]) if around is not None else ())]
        return next((body for body in bodies if event in self.tracer.definitions(body).blocks), None)

    # -- flags ---------------------------------------------------------------------------------------------

    def _flat(self, call: ir.Call, target: ir.Ref) -> Iterator[OddPass]:
        """The gradients in a loss, on any branch, that were computed without a graph of their own."""
        load = self.known.makers.get(target)
        branches = self.known.assigning(load) if isinstance(load, ir.Load) and self.known.only(load) is None else []
        sure = [event for ref in (target, *(store.src for store in branches)) for event in self.lineage.of(ref)]
        for event in dict.fromkeys((*sure, *FlatTerms(self.known, self.run).of(target))):
            if isinstance(event, ir.Call) and self._lacks_graph(event):
                yield OddPass(event.span, "flat", "autograd.grad(...)", ((call.span, "backward here"),))

    def _penalties(self) -> Iterator[OddPass]:
        """The same in what is a penalty by its name: a variable that is added to a loss, or what a function returns."""
        if grad_mode.never_records(self.run.entry):
            return
        for call in self.known.events(ir.Call):
            trace = self.tracer.trace(("ref", self.body, call.dst)) if self._lacks_graph(call) else None
            if trace is None:
                continue
            returned = (use.event.span for use in trace.of(RETURNED) if use.body is self.body)
            computes = is_penalty(self.body) and self._is_computed_from(call, trace)
            reasons = [(span, "returned here") for span in returned if computes]
            reasons += [(span, "added to the loss here") for span in self._added(trace)]
            if reasons:
                yield OddPass(call.span, "flat", "autograd.grad(...)", (min(reasons),))

    def _again(self) -> Iterator[OddPass]:
        """Gradients without a graph that are differentiated once more: there is nothing to walk."""
        for op in self.protocol.walks:
            assert isinstance(op.what, Backward)
            call = self.known.calls.get(op.what.span)
            if call is None or op.what.how != "grad" or op.what.through:
                continue
            outputs = call.args[0] if call.args else dict(call.keywords).get("outputs", ir.OPAQUE_REF)
            flat, value = FlatTerms(self.known, self.run), frozenset(op.what.target.atoms)
            for first in (*flat.of(outputs), *flat.behind(value), *self._gradients(value)):
                if first is not call and self._lacks_graph(first):
                    yield OddPass(
                        first.span, "again", "autograd.grad(...)", ((call.span, "differentiated again here"),)
                    )

    def _gradients(self, value: Value) -> list[ir.Call]:
        """The calls of ``autograd.grad`` whose very results a value is, whichever way was taken."""
        made = [atom.event for atom in value if isinstance(atom, Obj) and atom.type in (GRAD, ITERATOR)]
        calls = [event for event in made if isinstance(event, ir.Call) and event in self.known.blocks]
        return calls if len(calls) == len(value) else []

    def _is_computed_from(self, call: ir.Call, trace: Trace) -> bool:
        """Whether anything is computed from what a call returns."""
        refs = [key for kind, body, key in trace.nodes if kind == "ref" and body is self.body and isinstance(key, int)]
        makers = (self.known.makers.get(ref) for ref in refs)
        return any(isinstance(made, (ir.Binary, ir.Augment, ir.Call)) and made is not call for made in makers)

    def _added(self, trace: Trace) -> Iterator[Span]:
        """Where a variable that has the name of a penalty is added to something."""
        for kind, body, store in trace.nodes:
            if kind == "def" and body is self.body and isinstance(store, ir.Store) and PENALTY.search(store.name):
                for load in self.known.loads.get(store, ()):
                    yield from self._sums(load.dst)

    def _sums(self, term: ir.Ref) -> Iterator[Span]:
        """Where a temporary is added to something, weighted or not."""
        for reader in self.known.readers.get(term, ()):
            if isinstance(reader, (ir.Binary, ir.Augment)) and reader.op == "+":
                yield reader.span
            elif isinstance(reader, ir.Binary) and reader.op in ("*", "/"):
                yield from self._sums(reader.dst)

    def _lacks_graph(self, call: ir.Call) -> bool:
        """Whether a call computes gradients that have no graph for certain."""
        flags = dict(call.keywords)
        if not self._is_api(call, "torch.autograd.grad") or len(call.args) > 4 or call.starred or None in flags:
            return False
        return "create_graph" not in flags or self._is(flags["create_graph"], False)

    def _is_needless(self, op: Op, target: ir.Ref) -> bool:
        """Whether all that a pass walks is made anew in every iteration, and nothing else in the body walks it."""
        passes = {backward.span for backward in self.run.recorder.backwards()}
        if len(passes) != 1 or not op.what.loops:
            return False
        loop = op.what.loops[-1]
        walked = self.lineage.of(target)
        for event in walked:
            if isinstance(event, (ir.Attr, ir.Item)):
                return False
            stores = self.known.seen.get(event, frozenset()) if isinstance(event, ir.Load) else frozenset()
            if isinstance(event, ir.Load) and not all(s is not None and loop in self.known.loops(s) for s in stores):
                return False
        made = [event for event in walked if isinstance(event, ir.Call) and self.lineage.records(event)]
        if not made or not all(loop in self.known.loops(event) for event in made):
            return False
        return not any(self._gets_elsewhere(event, walked) for event in made)

    def _gets_elsewhere(self, call: ir.Call, walked: dict[ir.Event, None]) -> bool:
        """Whether what a call returns gets, on the graph, to anything but the pass."""
        trace = self.tracer.trace(("ref", self.body, call.dst))
        if trace.of(PASSED, RETURNED, STORED, YIELDED, KEPT):
            return True
        for kind, body, key in trace.nodes:
            maker = self.known.makers.get(key) if kind == "ref" and isinstance(key, int) else None
            if body is not self.body or (isinstance(maker, (ir.Call, ir.Binary)) and maker not in walked):
                return True
        return False

    def _clears(self, op: Op) -> bool:
        """Whether the body clears gradients in some way, which breaks the cycle."""
        for one in self.run.recorder.in_order():
            # What only got a parameter before the pass has not cleared what the pass leaves.
            if isinstance(one, Clear) or (isinstance(one, Touch) and (op.what.loops or one.span > op.what.span)):
                return True
        return False

    # -- other calls ---------------------------------------------------------------------------------------

    def _of_call(self, call: ir.Call) -> Iterator[OddPass]:
        for atom in self.tracer.value(self.body, call.func):
            name = atom.name if isinstance(atom, Api) else ""
            label = self.tracer.label(self.body, call.func)
            if name.endswith(".set_detect_anomaly"):
                statement = any(isinstance(one, ir.Discard) for one in self.known.readers.get(call.dst, ()))
                if statement and self._switches_on(call) and not self._switches_back(name):
                    yield OddPass(call.span, "anomaly", label)
            elif name == "torch.save" and call.args:
                yield from self._saved(call)
            elif name.startswith("torch.nn.") and name.endswith("Loss") and self._from_tensors(call, name):
                yield OddPass(call.span, "constructor", label)

    def _switches_on(self, call: ir.Call) -> bool:
        given = [*call.args, *(ref for _, ref in call.keywords)]
        return bool(given) and self._is(given[0], True)

    def _switches_back(self, name: str) -> bool:
        """Whether another call in the body switches the check off again, or to what it was."""
        calls = (call for call in self.known.calls.values() if self._is_api(call, name))
        return any(not self._switches_on(call) for call in calls)

    def _saved(self, call: ir.Call) -> Iterator[OddPass]:
        """What is on the graph and put into a file, alone or in a dict."""
        pending, seen = [call.args[0]], set[ir.Ref]()
        while pending:
            ref = pending.pop()
            event = self.known.makers.get(ref)
            if ref in seen or event is None:
                continue
            seen.add(ref)
            if isinstance(event, ir.Build) and event.kind in ("dict", "list", "tuple"):
                pending.extend(event.items)
            elif self.lineage.is_tracked(ref) or self._is_walked(ref) or self._is_cut_out_of_weight(ref):
                name = self.tracer.label(self.body, ref) or "what is saved"
                yield OddPass(event.span, "saved", name, ((call.span, "saved here"),))
            elif isinstance(event, ir.Load):
                pending.extend(self.lineage.operands(event))

    def _is_cut_out_of_weight(self, ref: ir.Ref) -> bool:
        """Whether a value is some rows of the weight of a layer: no leaf, but the result of an operation."""
        is_part = False
        for _ in range(LONGEST):
            event = self.known.makers.get(ref)
            if event is not None and self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH:
                return False
            if isinstance(event, ir.Load):
                only = self.known.only(event)
                ref = only.src if only is not None else ir.OPAQUE_REF
            elif isinstance(event, ir.Item):
                is_part, ref = True, event.obj
            elif isinstance(event, ir.Call) and isinstance(method := self.known.makers.get(event.func), ir.Attr):
                is_part = is_part or method.name == "clone"
                ref = method.obj if method.name in COPIES else ir.OPAQUE_REF
            else:
                return is_part and isinstance(event, ir.Attr) and event.name == "weight" and self._is_layer(event.obj)
        return False

    def _is_layer(self, ref: ir.Ref) -> bool:
        """Whether something is a layer that nothing in the file freezes."""
        event = self.known.makers.get(ref)
        method = self.known.makers.get(event.func) if isinstance(event, ir.Call) else None
        if isinstance(method, ir.Attr) and method.name in EMBEDDINGS:
            return True
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(map(self.program.is_module, value)) and not self.frozen.covers(value)

    def _is_walked(self, ref: ir.Ref) -> bool:
        """Whether the body goes backward from a value."""
        value = self.tracer.value(self.body, ref)
        made = frozenset(atom for atom in value if isinstance(atom, Obj) and atom.type in ("tensor", "result"))
        targets = [op.what.target.atoms for op in self.protocol.backwards if isinstance(op.what, Backward)]
        return bool(made) and made == value and any(made <= target for target in targets)

    def _from_tensors(self, call: ir.Call, name: str) -> bool:
        """Whether a loss is made from what it should be called with."""
        if len(call.args) != 2 or call.starred:
            return False
        first, second = (self.tracer.value(self.body, ref) for ref in call.args)
        if any(self._is_constant(value) for value in (first, second)):
            return False
        if any(FLAGS.search(self.tracer.label(self.body, ref)) for ref in call.args):
            return False
        return name.rpartition(".")[2] not in WEIGHTED or any(self.lineage.is_tracked(ref) for ref in call.args)

    def _late(self, flag: GradFlag) -> Iterator[OddPass]:
        """A leaf whose gradient is read, made one only after all that the backward walks was computed from it."""
        name = flag.target.name
        if flag.value is not True or flag.loops or flag.form == "argument" or name not in self._gradients_read:
            return
        for op in self.protocol.backwards:
            call = self.known.calls.get(op.what.span)
            method = self.known.makers.get(call.func) if call is not None else None
            if not isinstance(method, ir.Attr) or op.what.loops or op.what.span < flag.span:
                continue
            if not isinstance(op.what, Backward) or op.what.how != "backward":
                continue
            walked = self.lineage.of(method.obj)
            reads = [event for event in walked if isinstance(event, ir.Load) and event.name == name]
            later = [load for load in self._reads_of(name) if load.span > flag.span and load not in self._looks]
            if reads and all(load.span < flag.span for load in reads) and not later:
                yield OddPass(flag.span, "late", name, ((reads[0].span, "used here"), (op.what.span, "backward here")))
                return

    @cached_property
    def _looks(self) -> frozenset[ir.Event]:
        """The reads of variables of which only the gradient is wanted."""
        gradients = (event for event in self.known.attributes if event.name == "grad")
        return frozenset(self.known.makers[event.obj] for event in gradients if event.obj in self.known.makers)

    @cached_property
    def _gradients_read(self) -> frozenset[str]:
        """The variables whose gradient the body reads."""
        return frozenset(load.name for load in self._looks if isinstance(load, ir.Load))

    def _reads_of(self, name: str) -> list[ir.Load]:
        return [event for event in self.known.blocks if isinstance(event, ir.Load) and event.name == name]

    # -- values --------------------------------------------------------------------------------------------

    def _is_constant(self, value: Value) -> bool:
        return any(isinstance(atom, Literal) for atom in value)

    def _is(self, ref: ir.Ref | None, wanted: object) -> bool:
        """Whether a temporary is one constant for certain."""
        value = self.tracer.value(self.body, ref) if ref is not None else frozenset()
        return bool(value) and all(isinstance(atom, Literal) and atom.value == wanted for atom in value)

    def _is_api(self, call: ir.Call, name: str) -> bool:
        value = self.tracer.value(self.body, call.func)
        return bool(value) and all(isinstance(atom, Api) and atom.name == name for atom in value)


def odd_passes(path: str, evaluation: Evaluation, protocol: Protocol) -> list[OddPass]:
    """The calls about backward passes in one body that do not do what they are meant to."""
    if protocol.run.body.kind not in ("function", "module") or purpose.is_test(protocol.run.body, path):
        return []
    return list(OddPasses(evaluation, protocol).calls())
