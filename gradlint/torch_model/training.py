"""Optimizers and learning-rate schedulers."""

from __future__ import annotations

from functools import cache

import msgspec

from gradlint.torch_model.load import read_toml, words


class _Optimizers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    torch: str
    other: str
    closure: str


class _Schedulers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: str


class _Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    optimizers: _Optimizers
    schedulers: _Schedulers


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
def _training() -> _Training:
    return read_toml("training.toml", _Training)
