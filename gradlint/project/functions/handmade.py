"""Functions that are called a checkpoint and only turn gradients off (facts: CK02)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Obj, Sym
from gradlint.facts.functions import HandmadeCheckpoint
from gradlint.ir import events as ir
from gradlint.project.functions.function_calls import function_around

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

FUNCTION = re.compile(
    r"_*(?:(?:my|simple|manual|custom|naive|memory_efficient|activation|gradient|grad)_)*(?:checkpoint|ckpt)(?:ed|ing)?"
    r"(?:_(?:forward|fwd|call|block|blocks|layer|layers|segment|function|fn|module|sequential|wrapper))*"
)
"""Names of functions that run another one, rather than save, load or evaluate a checkpoint."""
CLASS = re.compile(
    r"_?(?:Gradient|Grad|Activation|Memory)?Checkpoint(?:ed|ing)?(?:Block|Layer|Module|Segment|Sequential|Wrapper|Function)?"
)
RUNS = re.compile(r"_?(?:run_)?(?:f|fn|fun|func|function|layer|block|segment|module|sublayer|forward|net)(?:_fn)?")
"""Names of what such a function runs."""


def handmade(program: Program, tracer: Tracer, run: Run) -> Iterator[HandmadeCheckpoint]:
    """The call in one body that a checkpoint would run again in backward, and that here has no graph."""
    body = run.body
    if not is_called_checkpoint(body) or function_around(program, body) is not None or recomputes(body):
        return
    definitions = tracer.definitions(body)
    results = returned(definitions)
    for call in definitions.events(ir.Call):
        if call.dst in results and runs_what_it_is_given(run, definitions, call):
            modes = tracer.modes(body, call)
            if modes and not modes & ~grad_mode.NO_GRAPH and turns_off(run, definitions):
                yield HandmadeCheckpoint(call.span, body.name_span, run.labels[call.func], name_of(body))


def name_of(body: Body) -> str:
    """What the checkpoint is called: the function, or the class of which it is the forward."""
    owner = body.parent
    is_method = body.name in ("forward", "__call__") and owner is not None and owner.kind == "class"
    return owner.name if is_method and owner is not None else body.name


def is_called_checkpoint(body: Body) -> bool:
    """Whether a function, or the class of which it is the forward, has the name of one."""
    if body.kind != "function" or body.is_generator or body.is_async:
        return False
    name = name_of(body)
    return FUNCTION.fullmatch(name) is not None or CLASS.fullmatch(name) is not None


def recomputes(body: Body) -> bool:
    """Whether code in a body, or inside of it, turns gradients on or goes backward: it may be the real thing."""
    for inner in body.inside():
        for event in inner.graph.events():
            if isinstance(event, ir.Attr) and event.name in ("enable_grad", "backward", "apply", "checkpoint"):
                return True
            if isinstance(event, ir.Load) and event.name in ("enable_grad", "checkpoint"):
                return True
    return False


def returned(definitions: Definitions) -> set[ir.Ref]:
    """The temporaries that a body returns, seen through variables, tuples and `detach`."""
    pending = [event.src for event in definitions.events(ir.Return) if event.src is not None]
    found = set[ir.Ref]()
    while pending:
        ref = pending.pop()
        if ref in found:
            continue
        found.add(ref)
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            pending.extend(store.src for store in definitions.assigning(event))
        elif isinstance(event, ir.Build):
            pending.extend(event.items)
        elif isinstance(event, ir.Unpack):
            pending.append(event.src)
        elif isinstance(event, ir.Call):
            method = definitions.makers.get(event.func)
            if isinstance(method, ir.Attr) and method.name in ("detach", "clone"):
                pending.append(method.obj)
    return found


def runs_what_it_is_given(run: Run, definitions: Definitions, call: ir.Call) -> bool:
    """Whether a call runs a parameter of the body, or an attribute of its object, on inputs that it is given."""
    name = run.labels[call.func] if call.func >= 0 else ""
    if not call.args or not (is_parameter(run, call.func) or name.startswith("self.")):
        return False
    detached = any(is_detached(definitions, ref) for ref in call.args)
    return detached or RUNS.fullmatch(name.rpartition(".")[2]) is not None


def is_parameter(run: Run, ref: ir.Ref) -> bool:
    """Whether a temporary is a parameter of the body."""
    names = {parameter.name for parameter in run.body.parameters}
    value = run.temps[ref] if ref >= 0 else frozenset()
    return bool(value) and all(
        isinstance(atom, Sym) and atom.scope is run.body and atom.path in names for atom in value
    )


def is_detached(definitions: Definitions, ref: ir.Ref) -> bool:
    """Whether a temporary is what `detach` returned."""
    event = definitions.makers.get(ref)
    method = definitions.makers.get(event.func) if isinstance(event, ir.Call) else None
    return isinstance(method, ir.Attr) and method.name == "detach"


def turns_off(run: Run, definitions: Definitions) -> bool:
    """Whether the body itself enters a region with gradients off, rather than its caller."""
    contexts = (atom for enter in definitions.events(ir.Enter) for atom in run.temps[enter.context])
    return any(isinstance(atom, Obj) and atom.type in ("torch.no_grad", "torch.inference_mode") for atom in contexts)
