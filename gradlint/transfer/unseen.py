"""Edits that torch does not count: through ``data``, through an array, of what an array was made from; ``detach_``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains import tensor
from gradlint.domains.values import SCALAR, Atom, Obj, Sym, Value
from gradlint.facts.edits import DetachInPlace, UnseenEdit

if TYPE_CHECKING:
    from gradlint.facts import Operand
    from gradlint.transfer.interpreter import Interpreter


def array(ip: Interpreter, event: Any, receiver: Atom, name: str) -> Value:
    """``tensor.numpy()``: an array on the memory of the tensor."""
    made = ip.make(event, SCALAR, tensor.CUT, via=name)
    for atom in made if isinstance(receiver, (Obj, Sym)) else ():
        ip.state.places[atom] = ip.state.place(atom)._replace(behind=ip.state.behind(receiver) - made)
    return made


def from_array(ip: Interpreter, made: Value, given: Value) -> None:
    """``torch.from_numpy(array)``: a tensor on the memory of the array."""
    arrays = frozenset(atom for atom in given if isinstance(atom, Obj))
    ip.program.lent |= arrays
    for atom in made:
        ip.state.places[atom] = ip.state.place(atom)._replace(behind=arrays | made)


def note(ip: Interpreter, event: Any, target: Value, operand: Operand, op: str) -> None:
    """Note an edit of what a recorded operation keeps, if torch does not count it."""
    kept = [kept_behind(ip, atom) for atom in target]
    if not kept or not all(kept):
        return
    saved = tuple(sorted(frozenset().union(*kept), key=lambda one: one.span))
    ip.recorder.note(UnseenEdit(event.span, *ip.where(), operand, op, saved))


def detached(ip: Interpreter, event: Any, receiver: Atom, operand: Operand) -> None:
    """Note ``tensor.detach_()``: what an operation has saved as an input, backward refuses then (facts: IP25)."""
    kept = ip.state.place(receiver).saved if operand.graph == tensor.GRAPH else frozenset()
    saved = tuple(sorted((one for one in kept if one.role == "input"), key=lambda one: one.span))
    ip.recorder.note(DetachInPlace(event.span, *ip.where(), operand, saved))


def kept_behind(ip: Interpreter, atom: Atom) -> frozenset[tensor.Saved]:
    """The recorded operations that keep memory which ``atom`` shares uncounted."""
    place = ip.state.places.get(atom)
    behind = place.behind - ip.state.roots(atom) if place is not None else frozenset()
    if atom in ip.program.lent:
        behind |= {other for other, known in ip.state.places.items() if atom in known.behind}
    found: frozenset[tensor.Saved] = frozenset()
    for root in behind:
        found |= ip.state.keepers(root)
    return found
