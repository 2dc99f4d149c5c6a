"""Methods and functions that frameworks call: in which modes, and what becomes of what they return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.values import Api, Atom, Sym
from gradlint.project import classes, members
from gradlint.torch_model.frameworks import SELF

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.torch_model.contracts import FoundHook
    from gradlint.torch_model.frameworks import Fate, GradMode

FUNCTION_CONTEXT = re.compile(r"(?:^|[.\"'\s])FunctionCtx\b")
"""The annotation of the context that an autograd function hands from forward to backward."""
BITS: dict[GradMode, int] = {
    "on": grad_mode.ON,
    "off": grad_mode.OFF,
    "inference": grad_mode.INFERENCE,
    "caller": grad_mode.INHERITED,
}
MARKS = {"eval": EVAL, "train": TRAIN, "caller": 0}
UNSAID = frozenset({"builtins.object", "torch.nn.Module"})
"""Bases that say nothing of who calls a method."""


def hook_of(program: Program, body: Body) -> FoundHook | None:
    """What calls the method ``body`` of a class, by the class that this derives from."""
    parent = body.parent
    if not program.contracts.has_hook(body.name) or parent is None or parent.kind != "class":
        return None
    return program.contracts.hook(classes.names(program, program.class_of(parent)), body.name)


def modes(program: Program, body: Body) -> int:
    """The modes in which frameworks call ``body``; 0 if none does.

    A function whose first parameter is annotated as a ``FunctionCtx`` does part of the work of an autograd function.
    """
    found = hook_of(program, body)
    bits = bits_of(found.hook.grad) if found is not None else 0
    for handed in program.handed.get(body, ()):
        bits |= bits_of(handed.runs.grad)
    if body.parameters and FUNCTION_CONTEXT.search(body.parameters[0].annotation or ""):
        bits |= grad_mode.OFF
    return bits


def bits_of(words: Iterable[GradMode]) -> int:
    """The grad modes that a row lists."""
    found = 0
    for word in words:
        found |= BITS[word]
    return found


def may_be_hook(program: Program, body: Body) -> bool:
    """Whether the name of a method alone says that somebody outside the file calls it."""
    return body.name in classes.HOOKS or body.name in program.contracts.by_name


def may_be_guarded(program: Program, body: Body) -> bool:
    """Whether a framework calls the method ``body`` and may have turned gradients off before.

    Where the class has a base that is out of sight, the method's name decides. What a framework goes backward from it
    also calls with gradients on.
    """
    found = hook_of(program, body)
    if found is not None:
        return bool(bits_of(found.hook.grad) & grad_mode.NO_GRAPH) and found.hook.result != "walked"
    hook = program.contracts.by_name.get(body.name)
    if hook is None or hook.result == "walked" or body.parent is None or body.parent.kind != "class":
        return False
    lineage = classes.lineage(program.class_of(body.parent))
    unseen = any(isinstance(base, Api) and base.name not in UNSAID for base in lineage)
    return unseen and (bool(bits_of(hook.grad) & grad_mode.NO_GRAPH) or hook.module == "eval")


def fates(program: Program, body: Body) -> set[Fate]:
    """What frameworks do with what ``body`` returns; empty if none is known to call it."""
    found = hook_of(program, body)
    known: set[Fate] = {handed.runs.result for handed in program.handed.get(body, ())}
    return known | ({found.hook.result} if found is not None else set())


def is_walked(program: Program, body: Body) -> bool:
    """Whether a framework may go backward from what ``body`` returns, or has turned gradients on to run it."""
    wanted = any("on" in handed.runs.grad for handed in program.handed.get(body, ()))
    return wanted or bool(fates(program, body) & {"walked", "returned"})


def is_looked_at(program: Program, body: Body) -> bool:
    """Whether only frameworks are known to call ``body``, and none goes backward from what it returns."""
    known = fates(program, body)
    return bool(known) and not is_walked(program, body)


def marks(program: Program, body: Body) -> Iterator[tuple[Atom, int]]:
    """The modules that a framework has put in eval or train mode before it calls ``body``."""
    found = hook_of(program, body)
    mark = MARKS[found.hook.module] if found is not None else 0
    for path in found.hook.modules if found is not None and mark else ():
        for atom in module_at(program, body, path):
            yield atom, mark


def module_at(program: Program, body: Body, path: str) -> Iterator[Atom]:
    """What ``self``, an attribute of it or a parameter by that name is in a method."""
    root, *rest = path.split(".")
    if root != SELF:
        if any(parameter.name == root for parameter in body.parameters):
            yield program.world.sym(body, root)
        return
    receiver = program.receiver(body)
    if receiver is None or body.parent is None:
        return
    if not rest:
        yield receiver
        return
    for atom in members.attribute(program, receiver, program.class_of(body.parent), rest[0]):
        for name in rest[1:]:
            atom = program.world.sym(atom.scope, f"{atom.path}.{name}", parent=atom) if isinstance(atom, Sym) else atom
        yield atom


def called_off(program: Program, body: Body) -> Reasons:
    """That a framework calls ``body`` with gradients off."""
    for handed in sorted(program.handed.get(body, ()), key=lambda one: one.span):
        if grad_mode.never_records(bits_of(handed.runs.grad)):
            return ((handed.span, f"`{handed.by}` runs `{body.name}` with gradients off"),)
    found = hook_of(program, body)
    if found is None or not grad_mode.never_records(bits_of(found.hook.grad)):
        return ()
    how = "in inference mode" if bits_of(found.hook.grad) == grad_mode.INFERENCE else "with gradients off"
    return ((body.name_span, f"{found.caller} calls `{body.name}` {how}"),)


def is_in_eval(program: Program, body: Body) -> bool:
    """Whether a framework has put the modules of a method's object in eval mode before it calls the method."""
    found = hook_of(program, body)
    return found is not None and found.hook.module == "eval"


def called_in_eval(program: Program, body: Body) -> Reasons:
    """That a framework calls ``body`` in eval mode, and leaves gradients as they are."""
    found = hook_of(program, body)
    if found is None or found.hook.module != "eval" or grad_mode.never_records(bits_of(found.hook.grad)):
        return ()
    return ((body.name_span, f"{found.caller} calls `{body.name}` in eval mode, with gradients on"),)
