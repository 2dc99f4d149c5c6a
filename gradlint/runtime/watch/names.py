"""What parameters are called: by the module that was called outermost, or by the optimizer that steps them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer

Known = tuple[str, str]
"""The name and the class of the module (or optimizer) that it is relative to."""


class Names:
    """Remembers names as strings, by identity of the parameter, so that nothing is kept alive."""

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}
        self._modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._parts: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()

    def module(self, module: nn.Module) -> None:
        """Learn the names in ``module``, the first time that it is seen."""
        if module in self._modules:
            return
        self._modules.add(module)
        owner = type(module).__name__
        for name, part in module.named_modules():
            if len(self._parts.get(part, "")) < len(name):
                self._parts[part] = name
        for name, parameter in module.named_parameters():
            # A part may be called on its own: the longest name says most.
            known = self._known.get(id(parameter))
            if known is None or len(known[0]) < len(name):
                self._known[id(parameter)] = (name, owner)

    def optimizer(self, optimizer: Optimizer) -> None:
        """Learn names for parameters of ``optimizer`` that no module has."""
        if optimizer in self._optimizers:
            return
        self._optimizers.add(optimizer)
        owner = type(optimizer).__name__
        number = 0
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._known.setdefault(id(parameter), (f"parameter {number} of {owner}", ""))
                number += 1

    def part(self, module: nn.Module) -> str:
        """Return what ``module`` is called inside of a module seen before; nothing if it is not part of one."""
        return self._parts.get(module, "")

    def of(self, identity: int) -> Known | None:
        """Return what the parameter with this identity is called."""
        return self._known.get(identity)

    def sorted(self, identities: Iterable[int]) -> tuple[str, ...]:
        """Return the names of those that have one."""
        return tuple(sorted({known[0] for identity in identities if (known := self._known.get(identity))}))
