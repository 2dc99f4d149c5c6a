"""Operators: arithmetic on tensors and numbers, and what containers hold after ``+=``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import CONTAINER, SCALAR, Obj, Tuple, Value, ordered, union
from gradlint.transfer import saving
from gradlint.transfer.questions import is_number

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.transfer.interpreter import Interpreter

OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "**": "pow",
    "@": "matmul",
    "%": "remainder",
    "//": "floor_divide",
}


def binary(ip: Interpreter, event: Any, op: str, left: Value, right: Value) -> Value:
    """``left op right``."""
    if is_number(left) and is_number(right):
        made = ip.make(event, SCALAR, tensor.PLAIN, via=op)
        ip.program.derives(ip, event, made, [left, right])
        return made
    if op in ("+", "*") and any(isinstance(atom, Obj) and atom.type == CONTAINER for atom in left | right):
        made = ip.make(event, CONTAINER, tensor.PLAIN)
        ip.state.contents[next(iter(made))] = union(
            [ip.state.contents.get(atom, frozenset()) for atom in left | right if isinstance(atom, Obj)]
        )
        return made
    return apply(ip, event, OPERATORS.get(op, op), [left, right])


def apply(ip: Interpreter, event: Any, op: str, operands: list[Value]) -> Value:
    """An operation of torch on ``operands``: its result, and what it saves for backward."""
    made = ip.operate(event, op, operands)
    saving.save(ip, event, op, operands, made)
    return made


def edited(ip: Interpreter, event: Any, target: Value, result: Value) -> Value:
    """The target of an in-place operation afterwards: the same objects, at the place of the result."""
    graph = ip.graph_of(result)
    for atom in target:
        if isinstance(atom, Obj):
            place = ip.state.place(atom)
            old = ip.graph_of_atom(atom)
            new = old if old & tensor.ATTACHED or ip.state.modes & grad_mode.NO_GRAPH else graph
            ip.state.places[atom] = place._replace(graph=new or old)
    ip.program.derives(ip, event, target, [result])
    return target


def keep_added(ip: Interpreter, event: ir.Augment, target: Value, value: Value) -> Value | None:
    """``list += items``, ``tuple += items``: what the name holds then; None if the target is no such container."""
    holders = [atom for atom in target if isinstance(atom, Obj) and atom.type == CONTAINER]
    tuples = [atom for atom in target if isinstance(atom, Tuple)]
    added = items_added(ip, event, value)
    for holder in holders:
        ip.state.contents[holder] = union([ip.state.contents.get(holder, frozenset()), added])
    if not target or len(holders) + len(tuples) < len(target):
        return None
    if not tuples:
        return target
    made = ip.make(event, CONTAINER, tensor.PLAIN)
    held = [ip.state.contents.get(atom, frozenset()) for atom in holders]
    ip.state.contents[next(iter(made))] = union([*(item for atom in tuples for item in atom.items), *held, added])
    return made


def items_added(ip: Interpreter, event: ir.Augment, value: Value) -> Value:
    """What a list holds after ``list += value``: the items of what is known to have any."""
    known = frozenset(
        atom for atom in value if isinstance(atom, Tuple) or (isinstance(atom, Obj) and atom.type == CONTAINER)
    )
    held = [
        union(list(atom.items)) if isinstance(atom, Tuple) else ip.state.contents.get(atom, frozenset())
        for atom in ordered(known)
        if not isinstance(atom, Tuple) or atom.items
    ]
    return union([*held, value - known]) if held else value - known


def flatten(ip: Interpreter, args: list[Value]) -> list[Value]:
    """Arguments with a list or tuple of tensors (``torch.cat([a, b])``) replaced by what it holds."""
    found = []
    for value in args:
        held = [ip.state.contents[atom] for atom in value if isinstance(atom, Obj) and ip.state.contents.get(atom)]
        found.append(union(held) if held else value)
    return found
