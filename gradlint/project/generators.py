"""Questions about generator functions: what their ``yield`` means, and who iterates over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Context, Obj
from gradlint.ir import events as ir
from gradlint.project import entries
from gradlint.project.modes import leaks
from gradlint.torch_model import grad_contexts
from gradlint.transfer.calls import MARKS

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

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


def is_consumed_idly(program: Program, tracer: Tracer, body: Body) -> bool:
    """Whether a generator is run in its file, and only by loops that compute nothing while it is suspended.

    ``for sample in self.samples(): last = sample``. Functions that say nothing of gradients need none meanwhile.
    """
    if body.parent is None:
        return False
    if body.parent.kind == "class":
        reads: list[tuple[Body, ir.Attr | ir.Load]] = [*tracer.reads_of(body.name)]
    else:
        reads = [
            (scope, load) for scope in program.module.inside() for load in tracer.definitions(scope).entering(body.name)
        ]
    says_nothing = any(not lowered for _, _, lowered in program.module.calls(body.name))
    telling = [(scope, read) for scope, read in reads if scope.relevant]
    return bool(reads or says_nothing) and all(loops_idly(tracer.definitions(scope), read) for scope, read in telling)


def loops_idly(known: Definitions, function: ir.Attr | ir.Load) -> bool:
    """Whether a generator function is called here, and what it makes looped over without a call or an operator."""
    readers = known.readers.get(function.dst, [])
    made = [one.dst for one in readers if isinstance(one, ir.Call) and one.func == function.dst]
    iterated = [one for ref in made for one in known.readers.get(ref, ())]
    loops = {
        loop
        for one in iterated
        if isinstance(one, ir.Iterate)
        for turn in known.readers.get(one.dst, ())
        for loop in known.loops(turn)[-1:]
    }
    inside = (event for event, block in known.blocks.items() if loops & {*block.loops})
    idle = not any(isinstance(event, (ir.Call, ir.Binary, ir.Augment, ir.Yield)) for event in inside)
    return idle and len(made) == len(readers) == len(iterated) == len(loops)


def is_of_script(program: Program, body: Body) -> bool:
    """Whether ``body`` is a function of a script, and every call of it is in sight."""
    module = program.runs.get((program.module, grad_mode.INHERITED))
    if body.parent is not program.module or module is None or not leaks.is_script(program.module, module):
        return False
    solved = {body for body, _ in program.runs}
    return not entries.callers_elsewhere(program, body) and not entries.is_called_out_of_sight(program, body, solved)
