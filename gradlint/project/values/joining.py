"""How functions put things into others, or hand them back: by writing an argument into another one, by a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Fn
from gradlint.ir import events as ir
from gradlint.project.summaries import inside
from gradlint.project.values.call_uses import parameters_for
from gradlint.project.values.uses import KEPT, RETURNED

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer


def joins(tracer: Tracer, call: ir.Call, fn: Fn, store: ir.Ref, value: ir.Ref) -> bool:
    """Whether a function writes the argument ``value`` into the argument ``store``, on the graph."""
    if not inside(fn, grad_mode.INHERITED) & grad_mode.RECORDS:
        return False
    targets = {("param", fn.body, name) for name in parameters_for(call, store, fn)}
    traces = [tracer.trace(("param", fn.body, name)) for name in parameters_for(call, value, fn)]
    return any(use.sure and use.holder in targets for trace in traces for use in trace.of(KEPT))


def hands_back(tracer: Tracer, body: Body, call: ir.Call, ref: ir.Ref) -> bool:
    """Whether a function of the file returns something that it computes, on the graph, from an argument."""
    for atom in tracer.value(body, call.func):
        if isinstance(atom, Fn) and inside(atom, grad_mode.INHERITED) & grad_mode.RECORDS:
            traces = (tracer.trace(("param", atom.body, name)) for name in parameters_for(call, ref, atom))
            if any(use.sure for trace in traces for use in trace.of(RETURNED)):
                return True
    return False


def named_attribute(known: Definitions, call: ir.Call, *names: str) -> tuple[ir.Ref, ir.Ref] | None:
    """The object and the name that `getattr`, `setattr` or a method of the object deals with, if called by that."""
    func = known.makers.get(call.func)
    if isinstance(func, ir.Attr) and func.name in names and call.args:
        return func.obj, call.args[0]
    if isinstance(func, ir.Load) and func.name in names and len(call.args) > 1:
        return call.args[0], call.args[1]
    return None
