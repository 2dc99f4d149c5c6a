"""What custom autograd functions do that is right for first derivatives and wrong for second ones.

``forward`` runs with gradients off: what it computes on the way and saves is a constant to whoever goes backward
through ``backward``. What ``backward`` itself takes off the graph is one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.domains.values import RESULT, TENSOR, Api, Literal, Obj, Sym
from gradlint.facts.functions import SecondDerivative
from gradlint.ir import events as ir
from gradlint.project.functions.context_methods import Method, plain_atoms
from gradlint.project.functions.function_tensors import gets_gradient
from gradlint.project.leaves import cutting
from gradlint.torch_model import factories, nondifferentiable

if TYPE_CHECKING:
    from gradlint.project.functions.custom_functions import Class
    from gradlint.project.functions.second_orders import SecondOrders

ONCE = "once_differentiable"
CUTS = frozenset({cutting.ARRAY, cutting.DATA, cutting.DETACH, cutting.NUMBER})
"""Operations of which the gradient is there and their own derivative is not."""
OFF = frozenset({"torch.no_grad", "torch.inference_mode"})
OPERATORS = frozenset(("+", "-", "*", "/", "**", "@"))
INDICES = re.compile(r"(?:^|_)(?:idx|ind(?:ex|ices)|mask|counts?|sizes?|shapes?|lengths?)\d*(?:_|$)")
LONGEST = 60
"""How many operations between a cut and what is returned are looked through."""


def seconds(known: Class, orders: SecondOrders) -> Iterator[SecondDerivative]:
    """What second derivatives through one function lose, and where the file asks for them."""
    for lost in lost_to_second(known):
        yield replace(lost, asked=orders.asked(known.cls))


def lost_to_second(known: Class) -> Iterator[SecondDerivative]:
    """What second derivatives through one function lose."""
    forward, backward = known.forward, known.backward
    if forward is None or backward is None or forward.run is None or backward.run is None:
        return
    if is_marked_once(known, backward):
        if asks_for_second(known) and is_differentiable(known, backward):
            yield SecondDerivative(backward.body.name_span, "once", ONCE, backward.body.name_span)
        return
    if hands_on(backward):
        return
    cut = next(off(known, backward), None)
    if cut is not None:
        yield cut
    elif not runs_other_code(backward):
        yield from intermediates(known, forward, backward)


def is_marked_once(known: Class, backward: Method) -> bool:
    """Whether ``once_differentiable`` decorates a ``backward``."""
    decorators = known.program.decorators.get(backward.body, ())
    return any(isinstance(atom, Api) and atom.name.rpartition(".")[2] == ONCE for atom in decorators)


def is_differentiable(known: Class, backward: Method) -> bool:
    """Whether all that ``backward`` does has a derivative, as far as can be seen."""
    parts = [part for event in backward.returned() if event.src is not None for part in backward.parts(event.src)]
    return not runs_other_code(backward) and all(cut_on_the_way(known, backward, part) is None for part in parts)


def asks_for_second(known: Class) -> bool:
    """Whether code of the file asks for a graph of the gradients."""
    return any(
        isinstance(event, ir.Call) and any(name == "create_graph" for name, _ in event.keywords)
        for run in known.program.runs.values()
        if run is not None
        for event in run.body.graph.events()
    )


def hands_on(backward: Method) -> bool:
    """Whether another custom function makes the gradient, and may know its own derivative."""
    return any(event.name == "apply" for event in backward.definitions.attributes)


def runs_other_code(backward: Method) -> bool:
    """Whether code that is neither of this file nor of torch has a part in the gradient: it may be compiled."""
    return any(
        isinstance(atom, Obj) and atom.type == RESULT and isinstance(atom.event, ir.Call)
        for call in backward.definitions.events(ir.Call)
        if not backward.label(call.func).startswith(f"{backward.ctx}.")
        for atom in backward.value(call.dst)
    )


# -- what forward keeps ------------------------------------------------------------------------------------


def intermediates(known: Class, forward: Method, backward: Method) -> Iterator[SecondDerivative]:
    """What ``forward`` has computed from an input, does not return, and keeps for ``backward``."""
    reads = {read.name: read for read in backward.read()}
    saved = reads.get("saved_tensors") or reads.get("saved_variables")
    calls = forward.calls("save_for_backward") if saved is not None else []
    refs: list[tuple[ir.Ref, ir.Event, ir.Attr | None]] = [(ref, call, saved) for call in calls for ref in call.args]
    for write in forward.written():
        refs += [(part, write, reads[write.name]) for part in forward.parts(write.src) if write.name in reads]
    for ref, event, read in refs:
        if read is not None and is_intermediate(forward, backward, ref):
            yield SecondDerivative(event.span, "intermediate", forward.label(ref), read.span)
            return


def is_intermediate(forward: Method, backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is neither an input nor an output, and has a derivative with respect to an input."""
    name, atoms = forward.label(ref), plain_atoms(forward.value(ref))
    if not name or INDICES.search(name) or not atoms or atoms & forward.outputs() or forward.run is None:
        return False
    if not all(isinstance(atom, Obj) and is_smooth(forward, atom) for atom in atoms):
        return False
    return is_derived(forward, backward, ref)


def is_derived(forward: Method, backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is computed from an input that gets a gradient by operations that have a derivative."""

    def further(event: ir.Event) -> list[ir.Ref]:
        if not isinstance(event, ir.Call):
            return [] if isinstance(event, ir.Attr) else operands(forward, event)
        made = [atom for atom in forward.value(event.dst) if isinstance(atom, Obj)]
        method = forward.maker(event.func)
        if not made or not all(is_smooth(forward, atom) for atom in made):
            return []
        return [*event.args, method.obj] if isinstance(method, ir.Attr) else list(event.args)

    return any(
        isinstance(event, ir.Load) and any(reaches(forward, backward, atom) for atom in forward.value(event.dst))
        for event in islice(forward.definitions.behind(ref, further), LONGEST)
    )


def reaches(forward: Method, backward: Method, atom: object) -> bool:
    """Whether an atom is an input of ``forward`` that gets a gradient."""
    names = [parameter.name for parameter in forward.inputs]
    if not isinstance(atom, Sym) or atom.scope is not forward.body or atom.path not in names:
        return False
    return gets_gradient(backward, names.index(atom.path))


def is_smooth(forward: Method, atom: Obj) -> bool:
    """Whether an object is the result of arithmetic, or of a function of torch that has a derivative."""
    event = atom.event
    if atom.type != TENSOR or event not in forward.definitions.blocks or forward.run is None:
        return False
    if isinstance(event, (ir.Binary, ir.Augment)):
        return event.op in OPERATORS
    if isinstance(event, ir.Unary):
        return event.op == "-"
    if not isinstance(event, ir.Call):
        return False
    name = forward.label(event.func).rpartition(".")[2]
    if name in nondifferentiable() or f"torch.{name}" in factories():
        return False
    return cutting.of(forward.run, forward.definitions, atom) is None


# -- what backward takes off the graph ---------------------------------------------------------------------


def off(known: Class, backward: Method) -> Iterator[SecondDerivative]:
    """The operations of ``backward`` that take the gradient, or what was saved, off the graph on its way out."""
    wrapper = next((one for one in backward.fn.wrappers if one.type in OFF), None)
    if wrapper is not None:
        yield SecondDerivative(backward.body.name_span, "off", wrapper.type, backward.body.name_span)
        return
    for event in backward.returned():
        for part in backward.parts(event.src) if event.src is not None else ():
            cut = cut_on_the_way(known, backward, part)
            if cut is not None and (cut.kind != cutting.ARRAY or is_detached(backward, cut)):
                yield SecondDerivative(cut.event.span, "cut", cut.call, event.span)
                return


def cut_on_the_way(known: Class, backward: Method, ref: ir.Ref) -> cutting.Cut | None:
    """The cut of a gradient, or of an input or output that was saved, that a returned gradient is made from."""
    cuts = (cut_at(backward, event) for event in behind(backward, ref))
    return next((cut for cut in cuts if cut and any(matters(known, backward, one) for one in cut.sources)), None)


def is_detached(backward: Method, cut: cutting.Cut) -> bool:
    """Whether an array is made of what was detached before: torch refuses anything else that requires grad."""
    before = (cut_at(backward, event) for source in cut.sources for event in behind(backward, source))
    return any(inner is not None and inner.kind in cutting.SOFT for inner in before)


def behind(backward: Method, ref: ir.Ref) -> Iterator[ir.Event]:
    """What a temporary was computed from, nearest first."""
    return islice(backward.definitions.behind(ref, lambda event: operands(backward, event)), LONGEST)


def cut_at(backward: Method, event: ir.Event) -> cutting.Cut | None:
    """The cut that an event is."""
    if backward.run is None or not isinstance(event, (ir.Call, ir.Attr)):
        return None
    for atom in backward.value(event.dst):
        cut = cutting.of(backward.run, backward.definitions, atom) if isinstance(atom, Obj) else None
        if cut is not None and cut.event is event and cut.kind in CUTS:
            return cut
    return None


def operands(backward: Method, event: ir.Event) -> list[ir.Ref]:
    """The temporaries whose values go into the result of an event."""
    if isinstance(event, ir.Load):
        return [store.src for store in backward.definitions.assigning(event)]
    if isinstance(event, ir.Binary):
        return [event.left, event.right] if event.op in OPERATORS else []
    if isinstance(event, ir.Augment):
        return [event.target, event.value]
    if isinstance(event, (ir.Unary, ir.Copy, ir.Unpack)):
        return [event.src]
    if isinstance(event, ir.Attr):
        return [event.obj]
    if isinstance(event, ir.Item):
        return [event.obj]
    if isinstance(event, ir.Build):
        return list(event.items)
    return [event.func, *event.args] if isinstance(event, ir.Call) else []


def matters(known: Class, backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is the incoming gradient, or an input or output of the function that was saved."""
    for event in behind(backward, ref):
        if isinstance(event, ir.Load) and backward.parameter_of(event.dst) is not None:
            return True
        position = saved_position(backward, event)
        if position is not None:
            return depends(known, backward, position)
    return False


def saved_position(backward: Method, event: ir.Event) -> int | None:
    """The position of what an event takes from the saved tensors."""
    source = event.src if isinstance(event, ir.Unpack) else event.obj if isinstance(event, ir.Item) else None
    read = backward.maker(source) if source is not None else None
    if not isinstance(read, ir.Attr) or read.name != "saved_tensors" or not backward.is_context(read.obj):
        return None
    if not isinstance(event, ir.Item):
        return event.index if isinstance(event, ir.Unpack) else None
    keys = [atom.value for atom in backward.value(event.key) if isinstance(atom, Literal)]
    return keys[0] if len(keys) == 1 and isinstance(keys[0], int) else None


def depends(known: Class, backward: Method, position: int) -> bool:
    """Whether what was saved at a position is an input that gets a gradient, or an output."""
    forward = known.forward if known.setup is None else None
    calls = forward.calls("save_for_backward") if forward is not None else []
    if forward is None or len(calls) != 1 or calls[0].starred or not -1 < position < len(calls[0].args):
        return False
    ref = calls[0].args[position]
    atoms = plain_atoms(forward.value(ref))
    return bool(atoms and atoms <= forward.outputs()) or any(reaches(forward, backward, atom) for atom in atoms)
