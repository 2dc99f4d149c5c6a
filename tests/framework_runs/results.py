"""What becomes of a result: who goes backward from it, gets it, keeps it or reads it."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def grad_mode() -> str:
    """Return the grad mode in force, in the words of the contracts."""
    if torch.is_inference_mode_enabled():
        return "inference"
    return "on" if torch.is_grad_enabled() else "off"


def module_mode(module: torch.nn.Module) -> str:
    """Return the mode of a module, in the words of the contracts."""
    return "train" if module.training else "eval"


def word(one: str, other: str, callers: tuple[str, str]) -> str:
    """Return the mode that both kinds of caller lead to, or ``caller`` where each finds its own."""
    if one == other:
        return one
    return "caller" if (one, other) == callers else f"{one} for one caller, {other} for another"


@contextmanager
def caller(grad: bool) -> Iterator[None]:
    """Run what is inside as a caller with gradients on or off.

    Without gradients, going backward from a result without a graph is passed over, or nobody could train.
    """
    backward = torch.Tensor.backward

    def lenient(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        if tensor.requires_grad:
            backward(tensor, *args, **kwargs)

    torch.Tensor.backward = backward if grad else lenient
    try:
        with torch.set_grad_enabled(grad):
            yield
    finally:
        torch.Tensor.backward = backward


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a result: itself, or those in the containers that it is made of.

    A transform of a function hands out what its own tensors wrap.
    """
    if isinstance(value, torch.Tensor):
        yield value
        if torch._C._functorch.is_functorch_wrapped_tensor(value):
            yield from tensors(torch._C._functorch.get_unwrapped(value))
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors(each)
    elif hasattr(type(value), "to_dict"):
        yield from tensors(value.to_dict())


class Results(torch.overrides.TorchFunctionMode):
    """Follow results while it is entered."""

    def __init__(self, on_walk: Callable[[int], None] = lambda number: None) -> None:
        super().__init__()
        self._on_walk = on_walk
        self._tensors: list[list[weakref.ref[torch.Tensor]]] = []
        self._graphs: list[list[weakref.ref[Any]]] = []  # the hooks, which live as long as what they hang on
        self._owners: dict[int, set[int]] = {}
        self._walked: set[int] = set()
        self._read: set[int] = set()
        self._kept: set[int] = set()

    def new(self, value: Any) -> int:
        """Follow a result from now on; returns its number."""
        number = len(self._tensors)
        self._tensors.append([])
        self._graphs.append([])
        for tensor in tensors(value):
            if tensor.requires_grad and not tensor.is_leaf:
                hook = functools.partial(self._walk, number)
                with torch._C.DisableTorchFunction():
                    tensor.register_hook(hook)
                self._graphs[number].append(weakref.ref(hook))
            self._tensors[number].append(weakref.ref(tensor))
            self._owners.setdefault(id(tensor), set()).add(number)
        return number

    def _walk(self, number: int, grad: torch.Tensor) -> None:
        self._walked.add(number)
        self._on_walk(number)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note which results a function of torch is given; looking at a property is no use of the value."""
        name = getattr(func, "__name__", "")
        if name != "__get__":
            found = self._walked if name == "_unpack_dual" else self._read  # forward mode walks while it computes
            for tensor in tensors([args, kwargs or {}]):
                for number in self._owners.get(id(tensor), ()):
                    if any(each() is tensor for each in self._tensors[number]):
                        found.add(number)
        return func(*args, **(kwargs or {}))

    def look(self, numbers: list[int]) -> None:
        """Note which results are still there, as tensors or as the graph behind them.

        The last of them says nothing: a framework may just not have forgotten it yet.
        """
        self._kept |= {
            number
            for number in numbers[:-1]
            if any(each() is not None for each in (*self._tensors[number], *self._graphs[number]))
        }

    def fate(self, number: int, returned: Any) -> str:
        """Return the word for what became of a result, where the framework returned this."""
        if number in self._walked:
            return "walked"
        alive = [tensor for tensor in (each() for each in self._tensors[number]) if tensor is not None]
        if any(tensor is one for tensor in alive for one in tensors(returned)):
            return "returned"
        if number in self._kept:
            return "kept"
        return "read" if number in self._read else "ignored"
