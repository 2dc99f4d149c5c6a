"""Level 1: attributes that look as if they froze something, and freeze nothing."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Assigned, Recording
from gradlint.runtime.watch.names import Names
from gradlint.runtime.watch.patches import Patches

_NAME = "requires_grad"
_MISSPELT = frozenset(
    {_NAME[:at] + _NAME[at + 1 :] for at in range(len(_NAME))}
    | {_NAME[:at] + _NAME[at] + _NAME[at:] for at in range(len(_NAME))}
    | {_NAME[:at] + _NAME[at + 1] + _NAME[at] + _NAME[at + 2 :] for at in range(len(_NAME) - 1)}
    | {"requires_grads", "require_grads", "required_grad", "requires_gradient", "require_gradient", "requiresGrad"}
) - {_NAME}

_Notice = Callable[[Any, str, object, FrameType], None]


class _Flag:
    """An attribute while it is watched: a plain one, as it is without us, that tells when it is set."""

    def __init__(self, name: str, notice: _Notice) -> None:
        self._name = name
        self._notice = notice

    def __get__(self, owner: object, kind: object = None) -> Any:
        if owner is None:
            return self
        if self._name not in vars(owner):
            raise AttributeError(self._name)
        return vars(owner)[self._name]

    def __set__(self, owner: object, value: object) -> None:
        vars(owner)[self._name] = value
        self._notice(owner, self._name, value, sys._getframe(1))

    def __delete__(self, owner: object) -> None:
        if self._name not in vars(owner):
            raise AttributeError(self._name)
        del vars(owner)[self._name]


class AttributeWatch:
    """Sees ``module.requires_grad = ...`` and misspellings of ``requires_grad``.

    On tensors, a descriptor for every name that is looked for costs nothing when other attributes are set. Modules
    are asked for all their attributes by the compiler, so that they cannot have any more.
    """

    def __init__(self, frames: Frames, names: Names) -> None:
        self._frames = frames
        self._names = names
        self._patches = Patches()
        self._rows: dict[tuple[Spot | None, str, str, str], list[int]] = {}
        self._modules: list[tuple[tuple[Spot | None, str, str, str], weakref.ref[nn.Module]]] = []
        self._identities: dict[tuple[Spot | None, str, str, str], int] = {}

    def start(self) -> None:
        """Begin to watch."""
        assign = nn.Module.__setattr__
        is_compiling, names, notice = torch.compiler.is_dynamo_compiling, {_NAME, *_MISSPELT}, self._module

        def __setattr__(self: nn.Module, name: str, value: Any) -> None:
            assign(self, name, value)
            if not is_compiling() and name in names:
                notice(self, name, value, sys._getframe(1))

        self._patches.set(nn.Module, "__setattr__", __setattr__)
        for name in _MISSPELT:
            self._patches.set(torch.Tensor, name, _Flag(name, self._tensor))

    def stop(self) -> None:
        """Stop watching, and look how many of the parameters are trainable after all."""
        self._patches.undo()
        for key, reference in self._modules:
            module = reference()
            if module is not None:
                self._rows[key][1] = _trainable(module)

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        rows = []
        for key, (count, trainable) in self._rows.items():
            spot, owner, name, value = key
            known = self._names.of(self._identities.get(key, 0))
            rows.append(Assigned(self._frames.place(spot), count, known[0] if known else owner, name, value, trainable))
        recording.assigned = tuple(rows)

    def _module(self, module: nn.Module, name: str, value: object, frame: FrameType) -> None:
        key = (self._frames.spot(frame)[0], type(module).__name__, name, repr(value)[:40])
        self._count(key, _trainable(module))
        self._modules.append((key, weakref.ref(module)))

    def _tensor(self, tensor: torch.Tensor, name: str, value: object, frame: FrameType) -> None:
        with torch._C.DisableTorchFunction():
            key = (self._frames.spot(frame)[0], type(tensor).__name__, name, repr(value)[:40])
            self._count(key, int(tensor.requires_grad))
            # One name stands for one parameter only.
            self._identities[key] = id(tensor) if self._identities.get(key, id(tensor)) == id(tensor) else 0

    def _count(self, key: tuple[Spot | None, str, str, str], trainable: int) -> None:
        row = self._rows.setdefault(key, [0, 0])
        row[0] += 1
        row[1] += trainable


def _trainable(module: nn.Module) -> int:
    with torch._C.DisableTorchFunction():
        return sum(parameter.requires_grad for parameter in module.parameters())
