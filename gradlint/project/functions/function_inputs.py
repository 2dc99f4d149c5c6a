"""What the ``forward`` of a custom function uses and autograd does not see: modules, and tensors from around the class.

Only tensors that `apply` is given one by one get what ``backward`` returns. The parameters of a module that ``forward``
calls, and a leaf that it finds in the file, get no gradient (facts: CF09).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import Literal, Obj
from gradlint.facts.functions import WrongSave
from gradlint.ir import events as ir
from gradlint.project.functions.context_methods import Method, is_none
from gradlint.project.functions.function_gradients import gradients
from gradlint.project.modes.decorations import known_run

if TYPE_CHECKING:
    from gradlint.project.functions.custom_functions import Class

RECOMPUTES = frozenset({"backward", "grad", "enable_grad", "vjp", "parameters"})
"""What a method names that runs something again, or takes care of parameters itself."""


def takes_care(method: Method | None) -> bool:
    """Whether a method goes backward itself, or handles gradients and parameters by hand."""
    if method is None:
        return True
    return any(event.name in RECOMPUTES for event in method.definitions.attributes) or any(
        event.name in RECOMPUTES for event in method.definitions.events(ir.Load)
    )


# -- modules -----------------------------------------------------------------------------------------------


def called_inputs(known: Class) -> list[int]:
    """The positions of inputs that ``forward`` calls, for which ``backward`` returns nothing and does nothing."""
    forward, backward = known.forward, known.backward
    if forward is None or backward is None or takes_care(backward) or takes_care(forward):
        return []
    loads = {load.dst: load.name for load in forward.definitions.events(ir.Load)}
    called = {loads[call.func] for call in forward.definitions.events(ir.Call) if call.func in loads}
    names = [parameter.name for parameter in forward.inputs if parameter.kind == "positional"]
    return [i for i, name in enumerate(names) if name in called and gets_none(backward, i)]


def gets_none(backward: Method, position: int) -> bool:
    """Whether every ``return`` has None for an input."""
    lists = [gradients(backward, event) for event in backward.returned()]
    return bool(lists) and all(
        parts is not None and position < len(parts) and is_none(backward.value(parts[position])) for parts in lists
    )


# -- leaves from around ------------------------------------------------------------------------------------


def captured(known: Class) -> Iterator[WrongSave]:
    """The leaves that ``forward`` computes with and that it was not given."""
    forward = known.forward
    if forward is None or takes_care(known.backward):
        return
    own = {parameter.name for parameter in forward.body.parameters} | set(forward.definitions.stores)
    told = set[str]()
    for load in forward.definitions.events(ir.Load):
        if load.name in own | told or not is_leaf(known, forward, load):
            continue
        readers = forward.definitions.readers.get(load.dst, ())
        if any(isinstance(reader, ir.Binary) or is_argument(load, reader) for reader in readers):
            told.add(load.name)
            yield WrongSave(load.span, "captured", load.name, load.span)


def is_argument(load: ir.Load, reader: ir.Event) -> bool:
    """Whether a call is given what a load has read."""
    return isinstance(reader, ir.Call) and load.dst in reader.args


def is_leaf(known: Class, forward: Method, load: ir.Load) -> bool:
    """Whether a name from around stands for a leaf that requires grad."""
    value = forward.value(load.dst)
    around = forward.body.parent.parent if forward.body.parent is not None else None
    run = known_run(known.program, around) if around is not None and around.kind != "class" else None
    return (
        run is not None
        and bool(value)
        and all(isinstance(atom, Obj) and run.plain.get(atom) == tensor.LEAF for atom in value)
    )


# -- gradients that are not there --------------------------------------------------------------------------


def unmaterialised(known: Class) -> Iterator[WrongSave]:
    """Gradients that ``backward`` computes with although ``forward`` has asked for None where there is none.

    With one output there is always one (facts: CF10).
    """
    backward, writers = known.backward, [one for one in (known.forward, known.setup) if one is not None and one.ctx]
    names = [parameter.name for parameter in backward.inputs if parameter.kind == "positional"] if backward else []
    if backward is None or len(names) < 2 or any(one.calls("mark_non_differentiable") for one in writers):
        return
    calls = [call for one in writers for call in one.calls("set_materialize_grads") if is_false(one, call)]
    loads = [load for load in backward.definitions.events(ir.Load) if load.name in names]
    asked = {load.name for load in loads if any(asks(reader) for reader in readers(backward, load))}
    for load in loads if calls else ():
        if load.name not in asked and any(isinstance(one, (ir.Binary, ir.Attr)) for one in readers(backward, load)):
            yield WrongSave(load.span, "unmaterialised", load.name, calls[0].span)
            return


def readers(method: Method, load: ir.Load) -> list[ir.Event]:
    """The events that read what a load has read."""
    return method.definitions.readers.get(load.dst, [])


def asks(reader: ir.Event) -> bool:
    """Whether an event may ask if something is None, or hand it to code that does."""
    return isinstance(reader, (ir.Compare, ir.Assume, ir.Call, ir.Copy, ir.Unary, ir.Build))


def is_false(method: Method, call: ir.Call) -> bool:
    """Whether a call is given False."""
    value = method.value(call.args[0]) if call.args else frozenset()
    return bool(value) and all(isinstance(atom, Literal) and atom.value is False for atom in value)
