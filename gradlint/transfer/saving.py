"""What a recorded operation keeps for its backward, and which modules write to their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import CONTAINER, PARAMETER, TENSOR, Atom, Obj, Value
from gradlint.torch_model import PARAMETERS, saved
from gradlint.transfer import calls

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter


def tracked(ip: Interpreter, operands: list[Value]) -> list[int]:
    """The positions of the operands that are on the graph for certain."""
    found = []
    for index, operand in enumerate(operands):
        graph = ip.graph_of(operand)
        if graph and not graph & ~tensor.ATTACHED:
            found.append(index)
    return found


def kinds(operands: list[Value]) -> str:
    """The form of a call, one letter per operand: tensor, number, unknown."""
    letters = []
    for operand in operands:
        if calls.is_number(operand):
            letters.append("n")
        elif all(isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER) for atom in operand):
            letters.append("t")
        else:
            letters.append("?")
    return "".join(letters)


def save(ip: Interpreter, event: Any, op: str, operands: list[Value], result: Value) -> None:
    """Note which operands, and whether the result, the operation ``op`` keeps; nothing if it records nothing."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, operands)
    row = saved(op, kinds(operands)) if on_graph else None
    if row is None:
        return
    for index in row.saved_inputs(on_graph):
        if 0 <= index < len(operands):
            ip.save(operands[index], op, "input", event.span)
    if 0 in row.saved_outputs(on_graph):
        ip.save(result, op, "output", event.span)


def save_operand(ip: Interpreter, event: Any, op: str, target: Value, value: Value) -> None:
    """Note whether ``target op= value`` keeps ``value``; of the target autograd keeps a copy where it needs one."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, [target, value])
    row = saved(op, kinds([target, value])) if on_graph else None
    if row is not None and 1 in row.saved_inputs(on_graph):
        ip.save(value, op, "input", event.span)


def save_for_module(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> None:
    """Note what the call of a module of torch.nn keeps of its input and its result."""
    if not isinstance(module, Obj) or not site.args or not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, site.args)
    if ip.program.trainable(ip, module):
        on_graph.append(PARAMETERS)
    row = saved(module.type, "t" * len(site.args)) if on_graph else None
    if row is None:
        return
    name = module.type.rpartition(".")[2]
    for index in row.saved_inputs(on_graph):
        if 0 <= index < len(site.args):
            ip.save(site.args[index], name, "input", site.event.span)
    if 0 in row.saved_outputs(on_graph):
        ip.save(result, name, "output", site.event.span)


def module_in_place(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> Value:
    """The result of a module: its input, edited, if the module was made with ``inplace=True``."""
    if module not in ip.program.in_place_modules or not site.args or not isinstance(module, Obj):
        return result
    target = site.args[0]
    ip.edit(site.event, target, ip.operand(site.event.args[0]), module.type.rpartition(".")[2], [])
    return calls.edited(ip, site.event, target, result) if target else result


def edit_list(ip: Interpreter, site: calls.Site, op: str) -> None:
    """``torch._foreach_add_(tensors, ...)``: every tensor of the list is edited."""
    if not site.args:
        return
    operand = ip.operand(site.event.args[0])
    for atom in site.args[0]:
        if isinstance(atom, Obj) and atom.type in (CONTAINER, "iterator"):
            items = ip.state.contents.get(atom)
            if items:
                ip.edit(site.event, items, ip.describe(items, operand.name, operand.span), op, [])
