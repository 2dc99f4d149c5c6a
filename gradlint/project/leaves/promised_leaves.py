"""Functions that are asked for a tensor that requires grad, and return what they compute from it (facts: RG05).

``def zeros(n, requires_grad=False)`` hands the flag to a factory of torch and returns a part of the result, or what it
scales: the caller gets a computed tensor, whose ``.grad`` stays None, and nobody holds the leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Api
from gradlint.facts.leaves import NoLeaf
from gradlint.ir import events as ir
from gradlint.project.values.definitions import ENTERED
from gradlint.torch_model import factories, in_place_methods
from gradlint.torch_model.attributes import tensor_methods, tensor_properties

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

FLAG = "requires_grad"
SAME = frozenset("float cpu contiguous type type_as requires_grad_".split())
"""Methods that return the tensor itself, or do so where there is nothing to change."""
HOLDS = frozenset("grad retain_grad register_hook".split())
"""Who asks a tensor for this sees to its gradient."""


def promised_leaves(tracer: Tracer, run: Run) -> Iterator[NoLeaf]:
    """The leaves of a function whose parameter asks for them, and which nothing holds when it returns."""
    if all(parameter.name != FLAG for parameter in run.body.parameters):
        return
    known = tracer.definitions(run.body)
    for call in known.events(ir.Call):
        if _makes_leaf(known, run, call) and not _is_held(known, run, call):
            for event in known.events(ir.Return):
                if any(_is_computed(known, run, part, call) for part in _parts(known, event)):
                    because = ((call.span, "the leaf is made here, and nothing holds it"),)
                    yield NoLeaf(event.span, run.body.name, False, because, call.span, call.span, FLAG, promised=True)
                    break


def _makes_leaf(known: Definitions, run: Run, call: ir.Call) -> bool:
    """Whether a factory of torch is handed the flag as the function got it."""
    flag = known.makers.get(dict(call.keywords).get(FLAG, ir.OPAQUE_REF))
    handed_on = isinstance(flag, ir.Load) and flag.name == FLAG and known.seen.get(flag) == ENTERED
    callees = run.temps[call.func] if handed_on and call.func >= 0 else frozenset()
    return bool(callees) and all(isinstance(one, Api) and one.name in factories() for one in callees)


def _parts(known: Definitions, event: ir.Return) -> list[ir.Ref]:
    """The values that a ``return`` gives back, one by one."""
    maker = known.makers.get(event.src) if event.src is not None else None
    if isinstance(maker, ir.Build) and maker.kind in ("tuple", "list"):
        return list(maker.items)
    return [event.src] if event.src is not None else []


def _is_computed(known: Definitions, run: Run, ref: ir.Ref, leaf: ir.Call) -> bool:
    """Whether a value is a tensor that an operation of torch has computed from a leaf."""
    maker = known.makers.get(ref)
    refs = [store.src for store in known.assigning(maker)] if isinstance(maker, ir.Load) else [ref]
    computed = all(_is_operation(known, run, known.makers.get(one)) for one in refs)
    return bool(refs) and computed and any(made is leaf for made in known.behind(ref, known.sources))


def _is_operation(known: Definitions, run: Run, event: ir.Event | None) -> bool:
    """Whether an event is an operation of torch, as far as its name tells."""
    if not isinstance(event, ir.Call):
        return isinstance(event, (ir.Binary, ir.Item))
    method = known.makers.get(event.func)
    return _is_of_torch(run, event) or (isinstance(method, ir.Attr) and method.name in tensor_methods())


def _is_of_torch(run: Run, call: ir.Call) -> bool:
    """Whether only functions of torch are called."""
    callees = run.temps[call.func] if call.func >= 0 else frozenset()
    return bool(callees) and all(isinstance(one, Api) and one.name.startswith("torch.") for one in callees)


def _is_held(known: Definitions, run: Run, call: ir.Call) -> bool:
    """Whether anything but an operation of torch gets the leaf itself."""
    pending, seen = [call.dst], {call.dst}
    while pending:
        ref = pending.pop()
        for reader in known.readers.get(ref, ()):
            same = _same(known, ref, reader)
            if same is None and not _only_computes(run, reader, ref):
                return True
            new = set(same or ()) - seen
            seen |= new
            pending += new
    return False


def _same(known: Definitions, ref: ir.Ref, reader: ir.Event) -> list[ir.Ref] | None:
    """The temporaries that are the same tensor by a reader; None if the reader makes another one, or keeps it."""
    if isinstance(reader, ir.Store):
        return [load.dst for load in known.loads.get(reader, ())]
    if isinstance(reader, ir.Copy):
        return [reader.dst]
    if isinstance(reader, ir.Attr) and (reader.name in SAME or reader.name in in_place_methods()):
        return [one.dst for one in known.readers.get(reader.dst, ()) if isinstance(one, ir.Call)]
    return None


def _only_computes(run: Run, reader: ir.Event, ref: ir.Ref) -> bool:
    """Whether a reader makes another tensor, or asks something of this one."""
    if isinstance(reader, (ir.Binary, ir.Unary, ir.Compare, ir.Discard, ir.Assume)):
        return True
    if isinstance(reader, ir.Item):
        return reader.obj == ref
    if isinstance(reader, ir.Attr):
        return reader.name not in HOLDS and (reader.name in tensor_methods() or reader.name in tensor_properties())
    return isinstance(reader, ir.Call) and _is_of_torch(run, reader)
