"""Stores that pile up graphs which were walked back already: what backward leaves of a graph still grows.

What a value is stored in must not be walked itself: summing up first and going backward later is the other order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import CONTAINER, Literal, Obj
from gradlint.facts import Elsewhere, Reasons
from gradlint.facts.lifetime import PiledGraph
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.project.forwards import outcomes
from gradlint.project.lifetime.growing import emptied, overwrites
from gradlint.project.lifetime.received import ADDS, CHECKS
from gradlint.project.lifetime.walked import Walked
from gradlint.project.values.call_uses import run_by_calling
from gradlint.project.values.definitions import INPUTS
from gradlint.project.values.uses import KEPT, WALKED, definer
from gradlint.torch_model import roles
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.facts.lifetime import RunningGraph
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.lifetime.walked import Start
    from gradlint.project.lifetime.walked_returns import Reason
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Node, Use


class Piling:
    """The stores of one file that pile up walked graphs."""

    def __init__(self, program: Program, path: str, evaluation: Evaluation) -> None:
        self.tracer, self.evaluation = evaluation.tracer, evaluation
        self.walked = Walked(program, path, evaluation)

    def graphs(self, run: Run) -> Iterator[PiledGraph]:
        """Yield the stores of a body, in source order, each once."""
        if run.body.kind in ("class", "genexp", "module") and not run.body.graph.loops:
            return
        found: dict[ir.Span, PiledGraph] = {}
        for start, backward in self.walked.starts(run):
            for use in self.tracer.trace(start.node).of(KEPT):
                span = use.event.span
                if start.only not in (None, use.event):
                    continue
                if (
                    use.body is run.body
                    and span not in found
                    and self.piles_up(run.body, start, use)
                    and not self._is_rebound(run.body, start, use, backward[0])
                ):
                    reasons: Reasons = (backward, (span, "what it leaves of the graph is kept here"))
                    through = use.holder is not None and bool(self.tracer.trace(use.holder).of(WALKED))
                    found[span] = PiledGraph(span, use.label or "it", start.name, reasons, through)
            for graph in self._metered(run.body, start, backward) if start.only is None else ():
                found.setdefault(graph.span, graph)
        known = {kept.span for kept in self.evaluation.kept_graphs(run.body)}
        yield from sorted((one for one in found.values() if one.span not in known), key=lambda one: one.span)

    def _metered(self, body: Body, start: Start, backward: Reason) -> Iterator[PiledGraph]:
        """The calls that give a walked value to a meter out of sight which gets numbers otherwise."""
        known = self.tracer.definitions(body)
        for meter, given, number in self.evaluation.meters.given(body):
            nodes = self.tracer.trace(start.node).nodes
            tracked = next((ref for ref in given if nodes.get(("ref", body, ref))), None)
            if tracked is None:
                continue
            often = meter.own and not known.loops(meter.call) and self._is_called_often(body)
            if often or outcomes.grows_across(self.tracer, body, start.event, meter.loops & start.loops):
                span = meter.call.span
                kept: Reasons = ((span, "what it leaves of the graph is kept here"),)
                kept += ((number, "and such a meter gets a number here"),) if number != span else ()
                label = f"{self.tracer.label(body, meter.call.func)}(...)"
                target = self.tracer.label(body, tracked).partition("[")[0] or start.name
                yield PiledGraph(span, label, target, (backward, *kept))

    # -- what is kept --------------------------------------------------------------------------------------

    def piles_up(self, body: Body, start: Start, use: Use) -> bool:
        """Whether a use keeps what ``start`` makes in every iteration, or at every call, and nobody walks it there."""
        known = self.tracer.definitions(body)
        if not use.sure or use.event not in known.blocks or start.event is use.event:
            return False
        if use.holder is None:  # a comprehension
            loops = use.loops & start.loops if isinstance(use.event, ir.Build) else ()
            grown = outcomes.grows_across(self.tracer, body, start.event, loops)
            return grown and not self._is_walked(use)
        if overwrites(known, use.event):
            return False
        if isinstance(use.event, (ir.Augment, ir.Store)) and grad_mode.never_records(
            self.tracer.modes(body, use.event)
        ):
            return False
        # A pass that runs once per call walks what the loops of the call have made.
        if use.holder[0] == "attr" and not (known.loops(use.event) and start.loops):
            if not self._is_called_often(body) or self._is_emptied(body, use):
                return False
        elif use.holder[0] == "param" and not known.loops(use.event):
            if not self._outlives_calls(body, str(use.holder[2]), use.event):
                return False
        elif not outcomes.grows_across(self.tracer, body, start.event, use.loops & start.loops):
            return False
        return not self._is_looked_into(body, use) and not self._is_walked(use)

    def _is_rebound(self, body: Body, start: Start, use: Use, backward: ir.Span | Elsewhere) -> bool:
        """Whether what is kept has gone through a variable that gets another value wherever the pass is made.

        ``if train: loss.backward(); loss = loss.detach()`` in front of ``losses.append(loss)``.
        """
        known = self.tracer.definitions(body)
        call = known.calls.get(backward) if not isinstance(backward, Elsewhere) else None
        makers = [known.makers.get(ref) for ref in INPUTS[type(use.event)](use.event) if ref is not None]
        loads = [maker for maker in makers if isinstance(maker, ir.Load)]
        nodes = self.tracer.trace(start.node).nodes
        tracked = [load for load in loads if nodes.get(("ref", body, load.dst))]
        if call is None or len(tracked) != 1 or start.event not in known.blocks:
            return False
        read, order = tracked[0], self.tracer.order(body)
        stores = known.stores.get(read.name, [])
        if all(nodes.get(("def", body, store)) for store in known.assigning(read)):
            return False
        return not order.leads(call, read, avoiding=stores) and not order.leads(read, call, avoiding=(start.event,))

    def _is_called_often(self, body: Body) -> bool:
        """Whether a method is run again and again: it goes backward once per call."""
        return body.kind == "function" and not body.name.startswith("__")

    def _outlives_calls(self, body: Body, name: str, event: ir.Event) -> bool:
        """Whether a variable of somebody else keeps what a function puts there at every call."""
        if any(parameter.name == name for parameter in body.parameters):
            return isinstance(event, ir.Call)
        outer = definer(body, name)
        if outer is None or outer.kind == "module":
            return outer is not None and self._is_called_often(body)
        inner = body
        while inner.parent is not None and inner.parent is not outer:
            inner = inner.parent
        known = self.tracer.definitions(outer)
        born = [known.loops(store) for store in known.stores.get(name, ())]
        return any(
            self._is_stepped(known, load) or any(all(loop not in loops for loops in born) for loop in known.loops(load))
            for load in known.events(ir.Load)
            if load.name == inner.name
        )

    def _is_stepped(self, known: Definitions, load: ir.Load) -> bool:
        """Whether a function is given to an optimizer, which calls it several times for a step."""
        for reader in known.readers.get(load.dst, ()):
            method = known.makers.get(reader.func) if isinstance(reader, ir.Call) else None
            if isinstance(method, ir.Attr) and method.name == "step" and method.dst != load.dst:
                return True
        return False

    def _is_emptied(self, body: Body, use: Use) -> bool:
        """Whether the body that fills an attribute also assigns or empties it."""
        assert use.holder is not None
        return any(emptied(self.tracer.definitions(body), str(use.holder[2])))

    def _is_walked(self, use: Use) -> bool:
        """Whether somebody goes backward from all that the store holds; from its last item is something else."""
        nodes: list[Node] = [use.holder] if use.holder is not None else []
        if isinstance(use.event, (ir.Augment, ir.Build)):
            nodes.append(("ref", use.body, use.event.dst))
        elif isinstance(use.event, ir.Store):
            nodes.append(("def", use.body, use.event))
        elif use.holder is not None and use.holder[0] == "def":
            assert isinstance(use.holder[2], ir.Store)
            nodes = [("ref", use.body, ref) for ref in self._read_whole(use.body, use.holder[2])]
        return any(self.tracer.trace(node).of(WALKED) for node in nodes)

    def _read_whole(self, body: Body, container: ir.Store) -> Iterator[ir.Ref]:
        """The reads of a container that are not just for its last item."""
        known = self.tracer.definitions(body)
        for load in known.loads.get(container, ()):
            readers = known.readers.get(load.dst, [])
            if not readers or not all(isinstance(one, ir.Item) and self._is_last(body, one) for one in readers):
                yield load.dst

    def _is_last(self, body: Body, item: ir.Item) -> bool:
        return any(isinstance(atom, Literal) and atom.value == -1 for atom in self.tracer.value(body, item.key))

    def _is_looked_into(self, body: Body, use: Use) -> bool:
        """Whether what keeps the value may turn it into a number: it asks what it is, or it is out of sight."""
        if not isinstance(use.event, ir.Call):
            return False
        called = self.tracer.value(body, use.event.func)
        inner = [getattr(run_by_calling(self.tracer.program, atom), "body", None) for atom in called]
        seen = [one for one in inner if isinstance(one, Body)]
        if seen:
            return any(asks(one) for one in seen)
        method = self.tracer.definitions(body).makers.get(use.event.func)
        if not isinstance(method, ir.Attr) or method.name in ADDS:
            return False
        if roles.REMEMBERS.search(method.name) or writes_tensor(method.name):
            return False
        owner = self.tracer.value(body, method.obj)
        return not owner or not all(isinstance(atom, Obj) and atom.type == CONTAINER for atom in owner)


def writes_tensor(name: str) -> bool:
    """Whether a method writes into the tensor that it belongs to: ``add_``."""
    return name.endswith("_") and name in tensor_methods()


def asks(body: Body) -> bool:
    """Whether a function asks what it was given."""
    return any(
        (isinstance(event, ir.Load) and event.name in CHECKS) or (isinstance(event, ir.Attr) and event.name in CHECKS)
        for event in body.graph.events()
    )


def piled_graphs(
    program: Program, path: str, evaluation: Evaluation, run: Run, running: Collection[RunningGraph]
) -> list[PiledGraph]:
    """The stores of one body that pile up graphs which were walked back, but for updates of running state."""
    known = {update.span for update in running}
    return [one for one in Piling(program, path, evaluation).graphs(run) if one.span not in known]
