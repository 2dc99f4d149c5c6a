"""Conditions that ask whether a caller has left out a layer: `if self.act is not None`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Literal, Value
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter


def compared(ip: Interpreter, e: ir.Compare) -> None:
    """Remember a comparison with None of what is a layer by default."""
    if e.op not in ("is", "is not"):
        return
    other = ip.value(e.right)
    none = len(other) == 1 and all(isinstance(atom, Literal) and atom.value is None for atom in other)
    if none and is_default(ip, ip.value(e.left)):
        ip.answers[e.dst] = e.op == "is not"


def passed_by(ip: Interpreter, e: ir.Assume) -> bool:
    """Whether a branch does nothing but pass by what is done with a layer: only who left it out on purpose goes there.

    A branch with code of its own is looked at, whoever goes there.
    """
    if len(ip.block.events) > 1:
        return False
    answer = ip.answers.get(e.cond)
    if answer is None and is_default(ip, ip.value(e.cond)):
        answer = True
    return answer is not None and answer != e.truth


def is_default(ip: Interpreter, value: Value) -> bool:
    """Whether all that ``value`` may be are the defaults of parameters that take layers."""
    return bool(value) and value <= ip.program.default_layers
