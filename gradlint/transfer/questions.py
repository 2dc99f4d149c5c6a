"""What a value is for certain, and which way a branch goes that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import LAYER, UNTOUCHED
from gradlint.domains.values import GRAD, PARAMETER, RESULT, SCALAR, TENSOR, Context, Literal, Obj, Sym, Value
from gradlint.transfer import misuse

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.transfer.interpreter import Interpreter


def truth(value: Value) -> bool | None:
    """The bool that ``value`` is for certain, or None."""
    found = {atom.value if isinstance(atom, Literal) else None for atom in value}
    if len(found) == 1:
        only = found.pop()
        return only if isinstance(only, bool) else None
    return None


def is_none(value: Value) -> bool:
    """True if ``value`` is None for certain."""
    return all(isinstance(atom, Literal) and atom.value is None for atom in value)


def number(value: Value) -> Any:
    """The number that ``value`` is for certain, or None."""
    if len(value) == 1:
        (atom,) = value
        if isinstance(atom, Literal) and isinstance(atom.value, (int, float)):
            return atom.value
    return None


def is_number(value: Value) -> bool:
    """True if ``value`` is a Python constant or the result of arithmetic on such for certain."""
    return all(isinstance(atom, Literal) or (isinstance(atom, Obj) and atom.type == SCALAR) for atom in value)


def may_be_tensor(ip: Interpreter, value: Value) -> bool:
    """Whether some atom of ``value`` may be a tensor."""
    return any(
        (isinstance(atom, Obj) and (atom.type in (TENSOR, PARAMETER, GRAD, RESULT))) or isinstance(atom, Sym)
        for atom in value
    )


def assume(ip: Interpreter, e: ir.Assume) -> bool:
    """Take a branch: false if the condition is known to be otherwise."""
    value = ip.value(e.cond)
    known = truth(value)
    if known is None and value and all(atom in ip.program.asked for atom in value):
        known = grad_mode.enabled(modes_asked(ip, value))
    elif known is None and value and all(isinstance(atom, Context) for atom in value):
        known = True
        misuse.passed_over(ip, e)
    elif e.truth:
        for layer in {ip.program.layers_asked[atom] for atom in value if atom in ip.program.layers_asked}:
            ip.state.marks[layer] = ip.state.marks.get(layer, UNTOUCHED) | LAYER
    else:
        off_the_graph(ip, e.cond)
    return known is None or known == e.truth


def off_the_graph(ip: Interpreter, cond: ir.Ref) -> None:
    """Behind the answer that something does not require grad, it is off the graph."""
    if cond not in ip.receivers or not ip.labels[cond].endswith(".requires_grad"):
        return
    for atom in ip.value(ip.receivers[cond]):
        if isinstance(atom, Obj) and atom.type in (RESULT, TENSOR):
            ip.state.places[atom] = ip.state.place(atom)._replace(graph=tensor.PLAIN)


def modes_asked(ip: Interpreter, value: Value) -> int:
    """The modes in force when `torch.is_grad_enabled` was asked, for values that are its answers."""
    modes = 0
    for atom in value:
        modes |= ip.program.asked[atom]
    return modes
