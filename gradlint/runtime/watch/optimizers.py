"""Level 1: what steps find in ``.grad``, gradients used twice, and gradients thrown away."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import _disable_current_modes

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Discarded, Mode, Parameter, Recording, Stale, Step
from gradlint.runtime.watch.modes import mode_now
from gradlint.runtime.watch.names import Names
from gradlint.runtime.watch.patches import Patches

_Gradient = tuple["weakref.ref[torch.Tensor]", int]
"""A gradient and its version: the same pair later on is the same value."""


class _Tally:
    """What the steps found in one parameter's ``.grad``; ``spent`` is the gradient that the last step used."""

    __slots__ = (
        *("added", "cleared", "filled", "none", "norm", "reference"),
        *("shape", "spent", "step", "steps", "wiped", "zero"),
    )

    def __init__(self, parameter: torch.Tensor) -> None:
        self.reference = weakref.ref(parameter)
        self.shape = tuple(parameter.shape)
        self.steps = self.none = self.zero = self.filled = 0
        self.norm = 0.0
        self.wiped: bool | None = None
        self.spent: _Gradient | None = None
        self.step: Spot | None = None
        # A backward has added to the spent gradient: what came of it, where, and where the step was.
        self.added: tuple[_Gradient, Spot | None, Spot | None] | None = None
        self.cleared: tuple[Spot | None] | None = None


class HasMode(Protocol):
    """A watcher that watches by a mode of torch's."""

    def put_aside(self) -> Any:
        """Take the mode away if that can be done; return it, or None."""

    def put_back(self, mode: Any) -> None:
        """Enter it again."""


class OptimizerWatch:
    """Follows every optimizer by torch's own hooks.

    While torch's own optimizers work, those of ``set_aside`` put their modes aside: nothing in there is the user's.
    """

    def __init__(self, frames: Frames, names: Names, set_aside: Sequence[HasMode]) -> None:
        self._frames = frames
        self._names = names
        self._set_aside = set_aside
        self._aside: list[tuple[HasMode, Any]] = []
        self._patches = Patches()
        self._tallies: dict[int, _Tally] = {}
        self._steps: dict[tuple[Spot | None, str, Mode], list[int]] = {}
        self._stale: dict[tuple[Spot | None, Spot | None], list[int]] = {}
        self._discarded: dict[Spot | None, list[int]] = {}
        self._callers: dict[Spot | None, tuple[Spot, ...]] = {}
        self._waiting: list[_Tally] = []
        self._hooks: list[Any] = []

    def start(self) -> None:
        """Begin to watch."""
        self._hooks = [
            register_optimizer_step_pre_hook(self._step_begins),
            register_optimizer_step_post_hook(self._stepped),
        ]
        for owner in (Optimizer, nn.Module):
            self._patches.set(owner, "zero_grad", self._clearing(owner.zero_grad))

    def stop(self) -> None:
        """Stop watching."""
        self._put_back()
        for hook in self._hooks:
            hook.remove()
        self._patches.undo()

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        place = self._frames.place
        recording.steps = tuple(
            Step(place(spot), count, name, empty, mode) for (spot, name, mode), (count, empty) in self._steps.items()
        )
        recording.stale = tuple(
            Stale(place(spot), count, place(step), parameters)
            for (spot, step), (count, parameters) in self._stale.items()
        )
        recording.discarded = tuple(
            Discarded(place(spot), count, parameters, emptied, tuple(map(place, self._callers.get(spot, ()))))
            for spot, (count, parameters, emptied) in self._discarded.items()
        )
        recording.parameters = tuple(self._parameters())

    def before_backward(self, _: object) -> None:
        """Remember which gradients are still those that a step has used."""
        self._put_back()
        spent = [tally for tally in self._tallies.values() if tally.spent is not None and _is_as_spent(tally)]
        self._waiting = [tally for tally in spent if not _is_wiped(tally)]

    def after_backward(self, spot: Spot | None) -> None:
        """Note the gradients that this backward has added to."""
        for tally in self._waiting:
            parameter = tally.reference()
            if parameter is not None and parameter.grad is not None and not _is_as_spent(tally):
                tally.added = ((weakref.ref(parameter.grad), _version(parameter.grad)), spot, tally.step)
                tally.spent = None
        self._waiting = []

    def _step_begins(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A step begins. A closure among its arguments is the user's code."""
        if len(args) > 1 or kwargs or not _is_torchs(optimizer):
            return
        self._put_aside()

    def _put_aside(self) -> None:
        for watch in self._set_aside:
            mode = watch.put_aside()
            if mode is not None:
                self._aside.append((watch, mode))

    def _put_back(self) -> None:
        """Watch again what was put aside; also called later, for a step that failed."""
        while self._aside:
            watch, mode = self._aside.pop()
            watch.put_back(mode)

    def _stepped(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        """A step has ended; its gradients are still there."""
        self._put_back()
        with torch._C.DisableTorchFunction():
            self._names.optimizer(optimizer)
            spot = self._frames.here(2)
            row = self._steps.setdefault((spot, type(optimizer).__name__, mode_now()), [0, 0])
            row[0] += 1
            filled: list[_Tally] = []
            emptied: list[_Tally] = []
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    tally = self._tallies.get(id(parameter))
                    if tally is None or tally.reference() is not parameter:
                        tally = self._tallies[id(parameter)] = _Tally(parameter)
                    tally.steps += 1
                    gradient = parameter.grad
                    if gradient is None:
                        tally.none += 1
                        emptied.append(tally)
                        continue
                    filled.append(tally)
                    tally.spent = (weakref.ref(gradient), _version(gradient))
                    tally.step = spot
            self._settle(filled, emptied)
            row[1] += not filled
            if row[0] & (row[0] - 1) == 0:
                _look(filled)

    def _settle(self, filled: list[_Tally], emptied: list[_Tally]) -> None:
        """Find out what the step used: gradients that hold those of an earlier one, or none since they were cleared."""
        stale: Counter[tuple[Spot | None, Spot | None]] = Counter()
        for tally in filled:
            tally.cleared = None
            if tally.added is not None:
                (gradient, _), spot, step = tally.added
                tally.added = None
                if tally.spent is not None and tally.spent[0]() is gradient():
                    stale[spot, step] += 1
        for key, count in stale.items():
            row = self._stale.setdefault(key, [0, 0])
            row[0] += 1
            row[1] = max(row[1], count)
        if not filled:
            for cleared in {tally.cleared for tally in emptied if tally.cleared is not None}:
                self._discarded[cleared[0]][2] += 1

    def _clearing(self, clear: Any) -> Any:
        def zero_grad(owner: Any, set_to_none: bool = True) -> None:
            if not isinstance(owner, Optimizer) or _is_torchs(owner):
                self._put_aside()
            try:
                self._clears(owner)
                clear(owner, set_to_none)
            finally:
                self._put_back()

        return zero_grad

    def _clears(self, owner: Optimizer | nn.Module) -> None:
        """Note the gradients that no step has used, and that are now lost."""
        fresh: list[_Tally] = []
        with torch._C.DisableTorchFunction():
            for parameter in _parameters(owner):
                if parameter.grad is None:
                    continue
                tally = self._tallies.get(id(parameter))
                if tally is None or tally.reference() is not parameter:
                    tally = self._tallies[id(parameter)] = _Tally(parameter)
                if tally.spent is None or not _is_as_spent(tally):
                    fresh.append(tally)
        if fresh:
            user = self._frames.user(sys._getframe(2))
            spot = (id(user.f_code), user.f_lasti) if user is not None else None
            row = self._discarded.setdefault(spot, [0, 0, 0])
            if not row[0] and user is not None:
                self._callers[spot] = self._frames.spots(user.f_back)
            row[0] += 1
            row[1] = max(row[1], len(fresh))
            for tally in fresh:
                tally.cleared = (spot,)

    def _parameters(self) -> Iterator[Parameter]:
        for identity, tally in self._tallies.items():
            if not tally.steps:
                continue
            name, module = self._names.of(identity) or ("a parameter", "")
            parameter = tally.reference()
            yield Parameter(
                name,
                module,
                tally.shape,
                tally.steps,
                tally.none,
                tally.zero,
                tally.filled,
                tally.norm,
                parameter is None or parameter.requires_grad,
            )


def _is_as_spent(tally: _Tally) -> bool:
    """Tell whether the gradient is the very one that the last step used."""
    parameter, spent = tally.reference(), tally.spent
    if parameter is None or spent is None:
        return False
    gradient = spent[0]()
    return gradient is not None and parameter.grad is gradient and _version(gradient) == spent[1]


def _is_wiped(tally: _Tally) -> bool:
    """Tell whether a gradient was set to zero past its version counter, as by ``.data``; the first time tells."""
    parameter = tally.reference()
    if tally.wiped is None and parameter is not None and parameter.grad is not None:
        with torch.no_grad(), _disable_current_modes():
            tally.wiped = not parameter.grad.is_meta and not bool(_values(parameter.grad).detach().any())
    return bool(tally.wiped)


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _version(gradient: torch.Tensor) -> int:
    """Return what counts the edits of ``gradient``; an inference tensor has no such counter."""
    return -1 if gradient.is_inference() else int(gradient._version)


def _look(tallies: Iterable[_Tally]) -> None:
    """Tell gradients of zeros from others. It costs a pass over each, so only at steps 1, 2, 4, 8 and so on."""
    with torch.no_grad(), _disable_current_modes():
        for tally in tallies:
            parameter = tally.reference()
            gradient = parameter.grad if parameter is not None else None
            if gradient is None or gradient.is_meta:
                continue
            norm = float(_values(gradient).detach().norm())
            if norm == 0.0:
                tally.zero += 1
            else:
                tally.filled += 1
                tally.norm = max(tally.norm, norm)


def _parameters(owner: Optimizer | nn.Module) -> Iterator[torch.Tensor]:
    if isinstance(owner, nn.Module):
        yield from owner.parameters()
        return
    for group in owner.param_groups:
        yield from group["params"]


def _is_torchs(optimizer: Optimizer) -> bool:
    return type(optimizer).__module__.startswith("torch.optim")
