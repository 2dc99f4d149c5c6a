"""Forward hooks that gather outputs with their graphs, in classes that get the gradients from hooks of their own.

Where a backward hook hands out the gradients, nobody goes backward from what the forward hook has stored: its values
are wanted. The graph of the last pass stays until the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts import KeptGraph, Modes
from gradlint.ir import events as ir
from gradlint.project.values.call_uses import ADDS
from gradlint.project.values.uses import KEPT, WALKED, class_around, owner_of

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Node, Trace, Tracer

FORWARD = "register_forward_hook"
GRADIENTS = frozenset({"register_backward_hook", "register_full_backward_hook", "register_hook"})
"""Methods that register a hook which is handed gradients."""
ARGUMENTS = 3
"""How many arguments a forward hook gets: the module, its inputs, its output."""


def hooked(tracer: Tracer, body: Body) -> Iterator[KeptGraph]:
    """The stores of the forward hooks that a method registers."""
    around = class_around(body)
    known = tracer.definitions(body)
    calls = registering(known, FORWARD) if around is not None and around[0] is body else {}
    if around is None or not calls or not any(gets_gradients(tracer, method) for method in tracer.methods(around[1])):
        return
    for name, call in calls.items():
        hook = next((method for method in tracer.methods(around[1]) if method.name == name), None)
        if hook is not None:
            yield from kept_by(tracer, around[1], hook, call)


def registering(known: Definitions, method: str) -> dict[str, ir.Call]:
    """By name, the methods of its own object that a body registers as hooks."""
    found: dict[str, ir.Call] = {}
    for call in known.events(ir.Call):
        func = known.makers.get(call.func)
        hook = known.makers.get(call.args[0]) if len(call.args) == 1 else None
        if isinstance(func, ir.Attr) and func.name == method and isinstance(hook, ir.Attr):
            found.setdefault(hook.name, call)
    return found


def gets_gradients(tracer: Tracer, method: Body) -> bool:
    """Whether a method registers a hook that is handed gradients."""
    return any(attribute.name in GRADIENTS for attribute in tracer.definitions(method).attributes)


def kept_by(tracer: Tracer, cls: Body, hook: Body, call: ir.Call) -> Iterator[KeptGraph]:
    """What a hook adds to lists of its object, on the graph."""
    names = [parameter.name for parameter in hook.parameters if parameter.kind == "positional"]
    if len(names) != ARGUMENTS + 1:
        return
    trace = tracer.trace(("param", hook, names[-1]))
    for use in trace.of(KEPT):
        append = use.event
        if not use.sure or use.body is not hook or not isinstance(append, ir.Call) or use.holder is None:
            continue
        if grad_mode.never_records(tracer.modes(hook, append)) or tracer.trace(use.holder).of(WALKED):
            continue
        method = tracer.definitions(hook).makers.get(append.func)
        if (
            isinstance(method, ir.Attr)
            and is_own(tracer, hook, method.obj, cls)
            and not is_cut_elsewhere(tracer, hook, trace, use.holder)
        ):
            because: Reasons = ((call.span, "the hook is registered here"), (append.span, "and stores the output here"))
            place = (append.span, Modes(grad_mode.INHERITED, {}), (), tracer.definitions(hook).blocks[append].index)
            yield KeptGraph(*place, use.label, names[-1], because, hook=True)


def is_cut_elsewhere(tracer: Tracer, hook: Body, trace: Trace, holder: Node) -> bool:
    """Whether the hook adds the value to the same list off the graph as well: whoever wants the graph has asked for it.

    ``trace`` is that of the value.
    """
    known = tracer.definitions(hook)
    for method in known.attributes:
        place = known.makers.get(method.obj)
        if method.name not in ADDS or not isinstance(place, ir.Attr) or place.name != holder[2]:
            continue
        for call in known.readers.get(method.dst, ()):
            given = call.args if isinstance(call, ir.Call) else ()
            if given and all(("ref", hook, ref) not in trace.nodes for ref in given):
                return True
    return False


def is_own(tracer: Tracer, body: Body, ref: ir.Ref, cls: Body) -> bool:
    """Whether something is an attribute of the object itself."""
    maker = tracer.definitions(body).makers.get(ref)
    return isinstance(maker, ir.Attr) and owner_of(tracer, body, maker.obj) in tracer.family(cls)
