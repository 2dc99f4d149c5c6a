"""Watching tensors that must stay as they are, and saying which line changed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradlint.runtime.checks.cause import Cause, listed
from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.place import NOWHERE, Place
from gradlint.runtime.recording import Recording

# Operators that write to arguments although their schemas do not say so (torch 2.13: aten.native_batch_norm).
_UNDECLARED = ("running_mean", "running_var")
_SET_DATA = Tensor.data.__set__


class Kind(str, Enum):
    """What became of a tensor that was to stay as it was."""

    VALUE = "its values changed"
    GRADIENT = "it received a gradient"
    GONE = "it is gone"


@dataclass(frozen=True, slots=True)
class Change:
    """A tensor that changed: its name, how, by which call and where.

    ``place`` is `NOWHERE` and ``operation`` empty if no call of torch did it in sight, as when it was written by way
    of numpy.
    """

    name: str
    kind: Kind
    operation: str
    place: Place


def tensors_of(what: object, buffers: bool = False) -> dict[str, Tensor]:
    """Return the parameters of a module (with ``buffers``, these too), or the tensors given, by name.

    ``what`` is a module, a tensor, a mapping of names to either, or an iterable of either. Raises `TypeError` for
    anything else.
    """
    if isinstance(what, nn.Module):
        named = dict(what.named_parameters())
        return {**named, **dict(what.named_buffers())} if buffers else named
    if isinstance(what, Tensor):
        return {"tensor": what}
    if isinstance(what, Mapping):
        return {name: tensor for key, value in what.items() for name, tensor in _within(str(key), value, buffers)}
    if isinstance(what, Iterable) and not isinstance(what, str | bytes):
        return {name: tensor for i, value in enumerate(what) for name, tensor in _within(f"[{i}]", value, buffers)}
    raise TypeError(f"expected a module or parameters, not {type(what).__name__}")


def _within(key: str, value: object, buffers: bool) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        key, value = value
    if isinstance(value, Tensor):
        yield key, value
    elif isinstance(value, nn.Module):
        for name, tensor in tensors_of(value, buffers).items():
            yield f"{key}.{name}", tensor
    else:
        raise TypeError(f"expected modules or parameters, found {type(value).__name__}")


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors hold the same, bit by bit, so that a NaN equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype or one.layout != other.layout:
        return False
    if one.layout != torch.strided or one.is_quantized:
        return bool(torch.equal(one, other.to(one.device)))
    return bool(torch.equal(_bytes(one), _bytes(other).to(one.device)))


def is_zero(tensor: Tensor) -> bool:
    """Tell whether every element is zero; a sparse tensor is judged by what it stores."""
    stored = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
    return not bool(torch.count_nonzero(stored))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


class Frozen:
    """Compares tensors before and after a piece of code; ``changes`` are filled when ``watching()`` ends.

    Values are compared with clones, since neither fused optimizers nor writes by way of ``.data`` move a tensor's
    version counter. ``find`` is called before and after, and names the tensors that count.
    """

    def __init__(self, find: Callable[[], Mapping[str, Tensor]], gradients: bool = True) -> None:
        self.changes: list[Change] = []
        self._find = find
        self._gradients = gradients
        self._frames = Frames()
        self._arrived: dict[str, Spot | None] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this block. Exceptions of the block go through; changes until then count."""
        tensors = dict(self._find())
        values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        gradients = {name: None if t.grad is None else t.grad.detach().clone() for name, t in tensors.items()}
        handles = [
            tensor.register_post_accumulate_grad_hook(self._arrival(name))
            for name, tensor in tensors.items()
            if self._gradients and tensor.requires_grad and tensor.is_leaf
        ]
        writes = _Writes(self._frames, tensors, values)
        try:
            with _Assignments(writes), writes:
                yield
        finally:
            for handle in handles:
                handle.remove()
            after = self._find()
            self.changes = [
                *self._changed_values(values, after, writes),
                *(self._changed_gradients(gradients, after) if self._gradients else ()),
            ]

    def _arrival(self, name: str) -> Callable[[Tensor], None]:
        def hook(tensor: Tensor) -> None:
            self._arrived.setdefault(name, self._frames.here())

        return hook

    def _changed_values(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], writes: _Writes
    ) -> Iterator[Change]:
        for name, value in before.items():
            if name not in after:
                yield Change(name, Kind.GONE, "", NOWHERE)
            elif not same_bits(value, after[name].detach()):
                operation, spot = writes.writer(name)
                yield Change(name, Kind.VALUE, operation, self._frames.place(spot))

    def _changed_gradients(self, before: Mapping[str, Tensor | None], after: Mapping[str, Tensor]) -> Iterator[Change]:
        for name, gradient in before.items():
            now = after[name].grad if name in after else None
            changed = now is not None and (gradient is None or not same_bits(gradient, now.detach()))
            if changed or name in self._arrived:
                yield Change(name, Kind.GRADIENT, "backward", self._frames.place(self._arrived.get(name)))


class _Writes(TorchDispatchMode):
    """Remembers for each watched tensor the first call after which it was no longer what it had been."""

    def __init__(self, frames: Frames, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._frames = frames
        self._tensors = tensors
        self._values = values
        self._names: dict[int, set[str]] = {}
        self._writers: dict[str, tuple[str, Spot | None]] = {}
        for name, tensor in tensors.items():
            self._names.setdefault(_storage(tensor), set()).add(name)

    def writer(self, name: str) -> tuple[str, Spot | None]:
        """Return what changed the tensor first, and where; an empty name and None if nothing was seen."""
        return self._writers.get(name, ("", None))

    def wrote(self, written: Tensor, operation: str) -> None:
        """Look whether a write to ``written`` has changed a watched tensor, which may have new memory now."""
        for name, tensor in self._tensors.items():
            if tensor is written:
                self._names.setdefault(_storage(tensor), set()).add(name)
        for name in self._names.get(_storage(written), ()):
            if name not in self._writers and not same_bits(self._values[name], self._tensors[name].detach()):
                self._writers[name] = (operation, self._frames.here())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for written in _written(func, args, kwargs or {}):
            self.wrote(written, _name(func))
        return result


class _Assignments(TorchFunctionMode):
    """Sees ``tensor.data = ...``, which is no operator."""

    def __init__(self, writes: _Writes) -> None:
        super().__init__()
        self._writes = writes

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func == _SET_DATA:
            self._writes.wrote(args[0], "data")
        return result


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operator writes to, by its schema."""
    values = {
        argument.name: args[index] if index < len(args) else kwargs.get(argument.name)
        for index, argument in enumerate(func._schema.arguments)
    }
    for argument in func._schema.arguments:
        declared = argument.alias_info is not None and argument.alias_info.is_write
        if declared or (argument.name in _UNDECLARED and values.get("training")):
            value = values[argument.name]
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, Tensor):
                    yield each


def causes(changes: Iterable[Change], recording: Recording) -> tuple[list[Cause], str]:
    """Return what changed the tensors, one cause per place and kind, and what to do about it."""
    groups: dict[tuple[Place, Kind, str], list[str]] = {}
    for change in changes:
        if change.kind is not Kind.GONE:
            groups.setdefault((change.place, change.kind, change.operation), []).append(change.name)
    found = [
        Cause(
            row.place,
            f"`{row.name}` of `{row.owner}` is a plain attribute: this freezes nothing ({row.trainable} still train)",
        )
        for row in recording.assigned
        if row.trainable
    ]
    steps = {row.place: row.optimizer for row in recording.steps}
    for (place, kind, operation), names in sorted(groups.items(), key=lambda item: item[0][1] is not Kind.VALUE):
        by = f"the step of `{steps[place]}`" if place in steps else f"`{operation}`"
        if kind is Kind.GRADIENT:
            by, verb = "this backward", "reaches"
        else:
            verb = "changes"
        if place == NOWHERE and kind is Kind.VALUE:
            by = "something that is no call of torch (numpy, another library)"
        found.append(Cause(place, f"{by} {verb} {listed(names)}"))
    return found, _help({kind for _, kind, _ in groups}, bool(recording.assigned))


def _help(kinds: set[Kind], assigned: bool) -> str:
    if assigned:
        return "call `requires_grad_(False)` on the module, which reaches its parameters"
    if Kind.GRADIENT in kinds:
        return "call `requires_grad_(False)` on what is frozen, or take its output off the graph with `detach`"
    return "leave it out of the optimizer, put frozen batch normalisation in `eval` mode, and write to copies only"


def _name(func: Any) -> str:
    return str(func._schema.name).rpartition("::")[2]


def _storage(tensor: Tensor) -> int:
    """Return what identifies the memory behind ``tensor``; a tensor without memory of its own is itself."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)
