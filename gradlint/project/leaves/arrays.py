"""Whether gradients are on where numpy is given what is on the graph, and what a backward pass tells of losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.domains import grad_mode, tensor
from gradlint.facts import Backward, Modes, Operand
from gradlint.facts.leaves import ArrayUse
from gradlint.ir import events as ir
from gradlint.project.values.lineage import Lineage, is_of_tensor
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer


def arrays(program: Program, tracer: Tracer, run: Run) -> Iterator[ArrayUse]:
    """The tensors on the graph that numpy is given in a body."""
    found = run.recorder.all(ArrayUse)
    goes_back = any(not backward.modes.off for backward in run.recorder.all(Backward))
    for use in found:
        # What is handed to code out of sight may be run with gradients off.
        on = use.modes.bits == grad_mode.ON or goes_back or not (run.body in program.escapes or is_entry(run.body))
        yield replace(use, known=use.known and on)
    if goes_back:
        seen = {use.span for use in found}
        yield from (use for use in _losses(tracer, run) if use.span not in seen)


def is_entry(body: Body) -> bool:
    """Whether a body is a method by which a trainer evaluates: that mostly turns gradients off before it calls it."""
    return body.parent is not None and body.parent.kind == "class" and bool(roles.EVALUATION_WORD.search(body.name))


def _losses(tracer: Tracer, run: Run) -> Iterator[ArrayUse]:
    """Losses that come from code out of sight: as somebody goes backward from their sum, they are on the graph."""
    known = tracer.definitions(run.body)
    reads = [attr for attr in known.attributes if attr.name == "numpy"]
    if not reads:
        return
    lineage = Lineage(tracer, run)
    walked: set[ir.Event] = set()
    for backward in run.recorder.all(Backward):
        call = known.calls.get(backward.span)
        method = known.makers.get(call.func) if call is not None else None
        if backward.how == "backward" and not backward.modes.off and isinstance(method, ir.Attr):
            walked |= lineage.of(method.obj).keys()
    for read in reads:
        load = _base(lineage, read.obj)
        store = known.only(load) if load is not None else None
        calls = (one for one in known.readers.get(read.dst, ()) if isinstance(one, ir.Call) and one.func == read.dst)
        call = next(calls, None)
        if store is None or call is None or call.args or call.keywords or roles.LOSS.search(store.name) is None:
            continue
        modes, made = tracer.modes(run.body, call), known.makers.get(store.src)
        value = tracer.value(run.body, store.src)
        unknown = all(run.plain.get(atom, tensor.ANY) & ~tensor.NO_GRAPH for atom in value)
        if made in walked and unknown and not modes & grad_mode.NO_GRAPH:
            name = tracer.label(run.body, read.obj)
            target = Operand(name, read.span, value, tensor.GRAPH, made.span if made is not None else None)
            block = known.blocks[call]
            yield ArrayUse(call.span, Modes(modes, {}), block.loops, block.index, target, f"{name}.numpy", method=True)


def _base(lineage: Lineage, ref: ir.Ref) -> ir.Load | None:
    """The variable that ``loss[i].cpu()`` reads."""
    while True:
        maker = lineage.known.makers.get(ref)
        method = lineage.known.makers.get(maker.func) if isinstance(maker, ir.Call) else None
        if isinstance(maker, ir.Item):
            ref = maker.obj
        elif isinstance(method, ir.Attr) and is_of_tensor(method.name):
            ref = method.obj
        else:
            return maker if isinstance(maker, ir.Load) else None
