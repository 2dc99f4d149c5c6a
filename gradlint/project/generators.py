"""Questions about generator functions: what their ``yield`` means, and who iterates over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Context, Obj
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
    """Whether every use of a local generator function is one call that runs it to its end: ``list(features())``."""
    if body.parent is None or body.parent.kind != "function" or body in program.escapes:
        return False
    made = [atom for atom, fn in program.generators.items() if fn.body is body]
    return bool(made) and all(atom in program.consumed for atom in made)
