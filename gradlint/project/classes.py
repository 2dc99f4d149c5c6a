"""Questions about classes of the file: bases, methods, and what torch makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Cls, Fn, Value
from gradlint.torch_model import modules, trainable_modules

if TYPE_CHECKING:
    from gradlint.project.program import Program

MODULE_BASE = re.compile(r"(?:^|\.)(?:\w*Module|\w*PreTrainedModel|PreTrainedModel|LightningModule|MessagePassing)$")
"""Last names of outside base classes that are modules: the frameworks' own base classes end so."""
FUNCTION_BASE = "torch.autograd.Function"
HOOKS = frozenset(
    """forward training_step validation_step test_step predict_step configure_optimizers setup teardown compute_loss
    on_train_epoch_end on_validation_epoch_end step closure""".split()
)
"""Methods that somebody outside the file calls."""


def lineage(cls: Cls) -> list[Cls | Api]:
    """The class, then its bases in the file or outside it, depth first, each once."""
    found: list[Cls | Api] = []
    pending: list[Cls | Api] = [cls]
    while pending:
        current = pending.pop(0)
        if current in found:
            continue
        found.append(current)
        if isinstance(current, Cls):
            pending = [base for value in current.bases for base in value if isinstance(base, (Cls, Api))] + pending
    return found


def is_module(cls: Cls) -> bool:
    """Whether instances of ``cls`` are modules."""
    return any(isinstance(base, Api) and is_module_class(base.name) for base in lineage(cls))


def is_module_class(name: str) -> bool:
    """Whether the outside class ``name`` is one of torch's modules, or looks like a framework's module."""
    if name.startswith("torch.nn."):
        return name.rpartition(".")[2] in modules()
    return MODULE_BASE.search(name) is not None


def is_trainable_layer(cls: Cls) -> bool:
    """Whether ``cls`` derives from a layer of torch that has a weight."""
    return any(
        isinstance(base, Api)
        and base.name.startswith("torch.nn.")
        and base.name.rpartition(".")[2] in trainable_modules()
        for base in lineage(cls)
    )


def is_function(cls: Cls) -> bool:
    """Whether ``cls`` is a custom autograd function, which runs with gradients off (facts: GM45)."""
    return any(isinstance(base, Api) and base.name == FUNCTION_BASE for base in lineage(cls))


def method(program: Program, cls: Cls, name: str) -> Value | None:
    """What the name stands for in the class's block or in that of a base in the file."""
    for base in lineage(cls):
        if isinstance(base, Cls):
            found = program.namespaces.get(base, {}).get(name)
            if found is not None:
                return found
    return None


def own_function(program: Program, cls: Cls, name: str) -> Fn | None:
    """The method ``name`` as a function of the file, if it is one."""
    found = method(program, cls, name) or frozenset()
    return next((atom for atom in found if isinstance(atom, Fn)), None)
