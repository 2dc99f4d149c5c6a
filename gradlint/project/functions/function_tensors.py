"""What custom autograd functions do to tensors that are not theirs, and what they hand to ``save_for_backward``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import SCALAR, Literal, Obj, Sym
from gradlint.facts import Edit
from gradlint.facts.functions import SpoiltTensor, WrongSave
from gradlint.ir import events as ir
from gradlint.project.functions.context_methods import Method, is_none
from gradlint.project.functions.function_gradients import gradients
from gradlint.project.functions.spoilt_tensors import overwritten
from gradlint.project.values.aliases import following

if TYPE_CHECKING:
    from gradlint.project.functions.custom_functions import Class


PLAIN_TYPES = frozenset("bool float int str".split())
"""Annotations of what is no tensor."""


def spoilt(known: Class) -> Iterator[SpoiltTensor]:
    """Edits in place of inputs, of incoming gradients and of saved tensors."""
    forward, backward = known.forward, known.backward
    if forward is not None and backward is not None:
        yield from undeclared(known, forward, backward)
    if backward is not None:
        yield from overwritten(known, backward)


def own_edits(method: Method) -> list[Edit]:
    """The edits that stand in a method itself, each place once."""
    found: dict[tuple[int, int], Edit] = {}
    for edit in method.run.recorder.all(Edit) if method.run is not None else ():
        if edit.inside is None and edit.called is None:
            found.setdefault(edit.span[:2], edit)
    return list(found.values())


def undeclared(known: Class, forward: Method, backward: Method) -> Iterator[SpoiltTensor]:
    """``forward`` edits an input that gets a gradient, and ``mark_dirty`` is not told."""
    methods = [method for method in (forward, known.setup) if method is not None]
    if any(method.calls("mark_dirty") or method.hands_context_on() for method in methods):
        return
    names = [parameter.name for parameter in forward.inputs]
    told = set[int]()
    for edit in own_edits(forward):
        position = named(edit, forward, names)
        if position is not None and position not in told and gets_gradient(backward, position):
            told.add(position)
            at, returned = forward.body.parameters[0].span, edit.target.atoms <= forward.outputs()
            yield SpoiltTensor(edit.span, "dirty", edit.op, names[position], at, returned)


def named(edit: Edit, method: Method, names: list[str]) -> int | None:
    """The position of the input that is edited, as it was handed in."""
    (atom,) = edit.target.atoms if len(edit.target.atoms) == 1 else (None,)
    if isinstance(atom, Sym) and atom.scope is method.body and atom.path in names:
        return names.index(atom.path)
    return None


def gets_gradient(backward: Method, position: int) -> bool:
    """Whether every ``return`` gives the input at ``position`` a gradient."""
    lists = [gradients(backward, event) for event in backward.returned()]
    return bool(lists) and all(
        parts is not None and position < len(parts) and not is_none(backward.value(parts[position])) for parts in lists
    )


# -- save_for_backward -------------------------------------------------------------------------------------


def saves(known: Class) -> Iterator[WrongSave]:
    """Calls of ``save_for_backward`` of which the last one counts only, and those of what is no tensor."""
    for method in (known.forward, known.setup):
        if method is None or not method.ctx:
            continue
        calls = method.calls("save_for_backward")
        for call in calls:
            before = [one for one in calls if one is not call and follows(method, one, call)]
            if before:
                yield WrongSave(call.span, "twice", "", before[0].span)
            yield from plain(method, call)


def follows(method: Method, first: ir.Call, second: ir.Call) -> bool:
    """Whether a call may come behind another one."""
    return second in following(method.definitions, first, frozenset())


def plain(method: Method, call: ir.Call) -> Iterator[WrongSave]:
    """Arguments that are numbers, strings or shapes for certain."""
    for position, ref in enumerate(call.args):
        value = method.value(ref)
        if position in call.starred or not value:
            continue
        if all(is_plain(method, atom) for atom in value) or is_number(method, ref):
            yield WrongSave(call.span, "plain", method.label(ref) or "a constant", call.span)


def is_number(method: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is an input that is a number or a word by its annotation, or by default."""
    name = method.parameter_of(ref)
    parameter = next((one for one in method.inputs if one.name == name), None)
    if parameter is None or parameter.kind != "positional":
        return False
    if parameter.annotation:
        return parameter.annotation.strip() in PLAIN_TYPES
    default = method.defaults.get(parameter.name, frozenset())
    return bool(default) and all(isinstance(atom, Literal) and atom.value is not None for atom in default)


def is_plain(method: Method, atom: object) -> bool:
    """Whether an atom is no tensor, and not None either."""
    if isinstance(atom, Literal):
        return atom.value is not None
    if isinstance(atom, Obj):
        return atom.type == SCALAR and isinstance(atom.event, ir.Call) is False
    return False
