"""Questions about generator functions: what their ``yield`` means, and who iterates over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Context, Obj
from gradlint.project import entries
from gradlint.project.modes import leaks
from gradlint.torch_model import grad_contexts
from gradlint.transfer.calls import MARKS

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

SUSPENDING = ("contextmanager", "fixture")
"""What the names of decorators end in that make the ``yield`` the inside of a ``with`` or of a test."""


def is_context_manager(program: Program, body: Body) -> bool:
    """Whether a decorator makes the suspended ``body`` the frame of a ``with``, or might: one that is not known."""
    fn = program.functions.get(body)
    marks = fn.marks if fn is not None else ()
    if any(mark.endswith(SUSPENDING) for mark in marks):
        return True
    return any(not keeps_generator(atom) for atom in program.decorators.get(body, ()))


def keeps_generator(decorator: Atom) -> bool:
    """Whether a generator function is still one behind ``decorator``, for certain."""
    if isinstance(decorator, Context):
        return True
    name = decorator.name if isinstance(decorator, Api) else decorator.type if isinstance(decorator, Obj) else ""
    return name in grad_contexts() or (name in MARKS and not name.endswith(SUSPENDING))


def is_consumed_whole(program: Program, body: Body) -> bool:
    """Whether every use of a generator function is one call that runs it to its end: ``list(features())``.

    All uses must be in sight: it is local, or stands in a script that no other file calls.
    """
    if body.parent is None or body in program.escapes:
        return False
    if body.parent.kind != "function" and not is_of_script(program, body):
        return False
    made = [atom for atom, fn in program.generators.items() if fn.body is body]
    return bool(made) and all(atom in program.consumed for atom in made)


def is_of_script(program: Program, body: Body) -> bool:
    """Whether ``body`` is a function of a script, and every call of it is in sight."""
    module = program.runs.get((program.module, grad_mode.INHERITED))
    if body.parent is not program.module or module is None or not leaks.is_script(program.module, module):
        return False
    solved = {body for body, _ in program.runs}
    return not entries.callers_elsewhere(program, body) and not entries.is_called_out_of_sight(program, body, solved)
