"""Optimizers, schedulers, frameworks that run backward, and callees that switch gradients off themselves."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

import msgspec

from gradlint.torch_model.load import read_toml, words


class BackwardCall(msgspec.Struct, frozen=True):
    """A framework's method that runs backward on its argument at position ``loss``, or scales it.

    ``receivers`` are the names its object usually has, ``types`` the classes, or the module, it belongs to.
    ``source`` says where this was read.
    """

    method: str
    receivers: frozenset[str]
    types: frozenset[str]
    loss: int
    source: str


class SelfGuarding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A callee that switches gradients off itself: a bare ``method`` name or a dotted ``name`` pattern."""

    source: str
    method: str | None = None
    name: str | None = None


class _Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    receivers: str
    types: str
    loss: int
    source: str


class _Optimizers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    torch: str
    other: str
    closure: str


class _Schedulers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: str


class _Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    optimizers: _Optimizers
    schedulers: _Schedulers
    backward: tuple[_Call, ...]
    scaled: tuple[_Call, ...]
    self_guarding: tuple[SelfGuarding, ...]


@cache
def optimizers() -> frozenset[str]:
    """Return the optimizer classes, of torch and others, by canonical dotted name."""
    return torch_optimizers() | words(_training().optimizers.other)


@cache
def torch_optimizers() -> frozenset[str]:
    """Return the optimizer classes of torch, by canonical dotted name."""
    return words(_training().optimizers.torch)


@cache
def closure_optimizers() -> frozenset[str]:
    """Return the optimizers whose ``step`` needs a closure."""
    return words(_training().optimizers.closure)


@cache
def schedulers() -> frozenset[str]:
    """Return the learning-rate schedulers of torch, by canonical dotted name."""
    return words(_training().schedulers.names)


@cache
def backward_calls() -> tuple[BackwardCall, ...]:
    """Return the frameworks' methods that run backward on an argument."""
    return tuple(_call(row) for row in _training().backward)


@cache
def scaled_losses() -> tuple[BackwardCall, ...]:
    """Return the calls whose result stands for the loss: going backward from it reaches the loss."""
    return tuple(_call(row) for row in _training().scaled)


def backward_call(method: str, receiver: str | None, owner: str | None) -> BackwardCall | None:
    """Return what ``receiver.method(...)`` is, or None if it is not known to run backward on an argument.

    ``receiver`` is the last name of the receiver (``accelerator`` for ``self.accelerator``), ``owner`` the
    canonical dotted name of its class; either may be None. A known ``owner`` decides alone.
    """
    for row in backward_calls():
        if row.method == method and (owner in row.types if owner is not None else receiver in row.receivers):
            return row
    return None


@cache
def self_guarding() -> tuple[SelfGuarding, ...]:
    """Return the callees that switch gradients off themselves."""
    return _training().self_guarding


@cache
def guards_itself(name: str) -> bool:
    """Tell whether the callee ``name`` switches gradients off itself.

    ``name`` is a canonical dotted name, or a bare method name where the receiver's class is not known.
    """
    last = name.rpartition(".")[2]
    return any(row.method == last if row.name is None else fnmatchcase(name, row.name) for row in self_guarding())


def _call(row: _Call) -> BackwardCall:
    return BackwardCall(row.method, words(row.receivers), words(row.types), row.loss, row.source)


@cache
def _training() -> _Training:
    return read_toml("training.toml", _Training)
