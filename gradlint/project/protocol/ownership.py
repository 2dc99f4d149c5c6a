"""Which optimizer has the parameters of which module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import GRAD, INSTANCE, PARAMETER, Atom, Cls, Obj, Sym, Unknown, Value
from gradlint.ir import events as ir
from gradlint.project import classes, members

if TYPE_CHECKING:
    from gradlint.project.program import Program


def covers(program: Program, subject: Atom, optimizer: Atom, stepped: Value) -> bool | None:
    """Whether clearing ``subject`` clears all gradients of ``optimizer``, none of them (False), or maybe some.

    ``stepped`` are the optimizers with steps of their own: they are no second name of another one.
    """
    if subject is optimizer:
        return True
    owned = program.owners.get(optimizer) or frozenset()
    if subject in stepped or program.is_optimizer(subject):
        others = program.owners.get(subject) or frozenset()
        if owned and others:
            return False if apart(program, owned, others) else None
        both_step = subject in stepped and optimizer in stepped
        return False if both_step and is_in_one_scope(subject, optimizer) and unrelated(subject, optimizer) else None
    if isinstance(subject, Obj) and subject.type in (PARAMETER, GRAD):
        holder = frozenset((subject.owner,)) if subject.owner is not None else frozenset()
        return False if holder and owned and apart(program, owned, holder) else None
    if owned == {subject}:
        return True
    return False if owned and program.is_module(subject) and apart(program, owned, frozenset((subject,))) else None


def apart(program: Program, some: Value, others: Value) -> bool:
    """Whether no module of ``some`` shares parameters with one of ``others``, as far as their names and makers tell."""
    return all(distinct(program, one, other) for one in some for other in others)


def distinct(program: Program, one: Atom, other: Atom) -> bool:
    """Whether two modules are different ones, neither a part of the other."""
    if one is other:
        return False
    if isinstance(one, Sym) and isinstance(other, Sym):
        return is_in_one_scope(one, other) and unrelated(one, other)
    if isinstance(one, Obj) and isinstance(other, Obj):
        if one.type == PARAMETER and other.type == PARAMETER:
            return one.owner is None and other.owner is None
        if one.cls is not None and other.cls is not None and one.cls is not other.cls:
            return (
                not is_related(one.cls, other.cls) and not holds(program, one, other) and not holds(program, other, one)
            )
        return is_made(one) and is_made(other) and other not in parts(program, one) and one not in parts(program, other)
    return False


def is_related(one: Cls, other: Cls) -> bool:
    """Whether one of two classes of the file inherits from the other, so that an object may be of both."""
    return one in classes.lineage(other) or other in classes.lineage(one)


def holds(program: Program, whole: Obj, part: Obj) -> bool:
    """Whether ``part``, or another of its class, may be inside of ``whole``: it was made from it, or gets to it."""
    inside = parts(program, whole)
    same = any(isinstance(atom, Obj) and atom.cls is part.cls for atom in inside)
    return same or any(not isinstance(atom, Obj) and program.is_module(atom) for atom in inside)


def is_in_one_scope(one: Atom, other: Atom) -> bool:
    """Whether the names of two things tell them apart: what another function handed to a closure may be either."""
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return False
    return not isinstance(one, Sym) or not isinstance(other, Sym) or one.scope is other.scope


def unrelated(one: Atom, other: Atom) -> bool:
    """Whether neither access path leads through the other."""
    a, b = one.label, other.label
    if isinstance(one, Sym) and isinstance(other, Sym):
        return not f"{a}.".startswith(f"{b}.") and not f"{b}.".startswith(f"{a}.")
    return one is not other


def is_made(module: Obj) -> bool:
    """Whether the module was made by a constructor in sight, so that its parts are known."""
    return isinstance(module.event, ir.Call) and (module.type == INSTANCE or module.type.startswith("torch.nn."))


def parts(program: Program, module: Atom) -> set[Atom]:
    """What a module was made from, and what that was made from."""
    found: set[Atom] = set()
    pending = [module]
    while pending:
        whole = pending.pop()
        inside = set(program.made_from.get(whole, ()))
        if isinstance(whole, Obj) and whole.cls is not None:
            inside.update(atom for value in members.held(program, whole.cls).values() for atom in value)
        pending.extend(inside - found)
        found |= inside
    return found
