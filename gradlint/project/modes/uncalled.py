"""Methods that are named and not called, and attributes that are written where a method should be called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Cls, Literal, Obj, Value
from gradlint.facts.modes import NotCalled
from gradlint.ir import events as ir
from gradlint.torch_model import modules, roles

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

OF_MODULES = frozenset({"eval", "train"})
OF_ANYTHING = frozenset({"backward", "zero_grad", "requires_grad_", "zero_grad_"})
"""Names that nothing but a method has that is called for what it does."""
MODES = {"eval": "eval()", "train": "train()"}


def not_called(program: Program, run: Run) -> Iterator[NotCalled]:
    """Yield the statements of one body that do not do what they name, in source order."""
    makers: dict[int, ir.Event] = {}
    found: list[NotCalled] = []
    for event in run.body.graph.events():
        if isinstance(event, ir.Attr):
            makers[event.dst] = event
        elif isinstance(event, ir.Discard) and isinstance(named := makers.get(event.src), ir.Attr):
            if is_method(program, run, named):
                written = run.labels[named.dst]
                found.append(NotCalled(named.span, "named", written, f"{written}()", sure=True))
        elif isinstance(event, ir.SetAttr) and event.obj >= 0:
            fact = assigned(program, run, event)
            if fact is not None:
                found.append(fact)
    yield from {fact.span: fact for fact in sorted(found, key=lambda fact: fact.span)}.values()


def is_method(program: Program, run: Run, named: ir.Attr) -> bool:
    """Whether an attribute is a method that is called for what it does."""
    value, label = (
        run.temps[named.obj] if named.obj >= 0 else frozenset(),
        run.labels[named.obj] if named.obj >= 0 else "",
    )
    if not label or any(isinstance(atom, (Api, Cls)) for atom in value):
        return False
    if named.name in OF_ANYTHING:
        return True
    if named.name in OF_MODULES:
        return is_module(program, value, label)
    return named.name == "step" and (
        all(program.is_optimizer(atom) for atom in value)
        or roles.OPTIMIZER.search(label) is not None
        or roles.SCHEDULER.search(label.rpartition(".")[2]) is not None
    )


def is_module(program: Program, value: Value, label: str) -> bool:
    """Whether a value is a module, as far as its makers or its name tell."""
    return bool(value) and (all(program.is_module(atom) for atom in value) or roles.is_module(label))


def assigned(program: Program, run: Run, event: ir.SetAttr) -> NotCalled | None:
    """``model.eval = True`` and ``model.training = False``; None for anything else."""
    if event.name not in ("eval", "train", "training"):
        return None
    value, label = run.temps[event.obj], run.labels[event.obj]
    flag = only_bool(run.temps[event.src]) if event.src >= 0 else None
    if flag is None or not label or label == "self" or not is_module(program, value, label):
        return None
    written = f"{label}.{event.name} = {flag}"
    if event.name == "training":
        if flag or any(is_alone(atom) for atom in value):
            return None
        return NotCalled(event.span, "flag", written, f"{label}.eval()", sure=False)
    wanted = event.name if flag else {"eval": "train", "train": "eval"}[event.name]
    return NotCalled(event.span, "replaced", written, f"{label}.{wanted}()", sure=True)


def only_bool(value: Value) -> bool | None:
    """The bool that a value is for certain."""
    known = {atom.value if isinstance(atom, Literal) else None for atom in value}
    only = known.pop() if len(known) == 1 else None
    return only if isinstance(only, bool) else None


def is_alone(atom: Atom) -> bool:
    """Whether a module may be one without parts: a layer of torch, or one of those that ``modules()`` lists."""
    if not isinstance(atom, Obj):
        return False
    name = atom.type.rpartition(".")[2]
    return atom.type.startswith("torch.nn.") and (name in modules() or atom.owner is not None)
