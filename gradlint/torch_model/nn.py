"""The classes of ``torch.nn`` and the methods that every module has.

Classes go by their name in ``torch.nn`` (``Linear``), methods by bare name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import msgspec

from gradlint.torch_model.load import read_toml, words


class _Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    trainable: str
    containers: str
    parameter_free: str
    mode_dependent: str
    batch_norms: str
    recurrent: str
    losses: str
    functional_losses: str


class _Methods(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fluent: str
    moves: str
    parameters: str
    buffers: str
    submodules: str
    iterators: str
    mode: str
    other: str


class _Modules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    modules: _Classes
    inplace: dict[str, int]
    parameters: dict[str, str]
    methods: _Methods


@cache
def modules() -> frozenset[str]:
    """Return every class of ``torch.nn`` that derives from ``nn.Module``."""
    return trainable_modules() | container_modules() | parameter_free_modules()


def names_module(name: str) -> bool:
    """Return whether ``name``, in full, is that of a class of ``torch.nn`` that derives from ``nn.Module``."""
    return name.startswith("torch.nn.") and name.rpartition(".")[2] in modules()


@cache
def trainable_modules() -> frozenset[str]:
    """Return the modules that have parameters of their own by default."""
    return words(_modules().modules.trainable)


@cache
def container_modules() -> frozenset[str]:
    """Return the modules that have the parameters of what they are given (``Sequential``), and ``Module``."""
    return words(_modules().modules.containers)


@cache
def parameter_names() -> Mapping[str, str]:
    """Return the classes that call their parameters other than ``weight`` and ``bias``, with a pattern of the names."""
    return MappingProxyType(_modules().parameters)


def names_parameter(name: str, attribute: str) -> bool:
    """Return whether a class of ``torch.nn``, by its name in full, calls one of its parameters ``attribute``."""
    pattern = parameter_names().get(name.rpartition(".")[2])
    return attribute in ("weight", "bias") if pattern is None else re.fullmatch(pattern, attribute) is not None


@cache
def parameter_free_modules() -> frozenset[str]:
    """Return the modules that have no parameters by default (``ReLU``, ``MSELoss``, ``InstanceNorm2d``)."""
    return words(_modules().modules.parameter_free)


@cache
def mode_dependent_modules() -> frozenset[str]:
    """Return the modules that, with default arguments, compute something else in ``eval()`` than in ``train()``."""
    return words(_modules().modules.mode_dependent)


@cache
def batch_norms() -> frozenset[str]:
    """Return the batch norms: they update running statistics in every forward in train mode."""
    return words(_modules().modules.batch_norms)


@cache
def recurrent_modules() -> frozenset[str]:
    """Return the modules whose forward returns (output, state)."""
    return words(_modules().modules.recurrent)


@cache
def losses() -> frozenset[str]:
    """Return the loss classes of ``torch.nn``."""
    return words(_modules().modules.losses)


@cache
def functional_losses() -> frozenset[str]:
    """Return the loss functions of ``torch.nn.functional``."""
    return words(_modules().modules.functional_losses)


@cache
def inplace_modules() -> Mapping[str, int]:
    """Return the modules that an ``inplace`` argument makes edit their input, with its position in the constructor."""
    return MappingProxyType(_modules().inplace)


@cache
def module_methods() -> frozenset[str]:
    """Return the public methods of ``nn.Module``."""
    methods = _modules().methods
    return words(" ".join((methods.fluent, methods.parameters, methods.buffers, methods.submodules, methods.other)))


@cache
def fluent_methods() -> frozenset[str]:
    """Return the methods of ``nn.Module`` that return the module itself."""
    return words(_modules().methods.fluent)


@cache
def moves() -> frozenset[str]:
    """Return the methods that move or cast a module; its Parameter objects stay the same."""
    return words(_modules().methods.moves)


@cache
def parameter_methods() -> frozenset[str]:
    """Return the methods that yield a module's parameters or pairs with them."""
    return words(_modules().methods.parameters)


@cache
def buffer_methods() -> frozenset[str]:
    """Return the methods that yield a module's buffers or pairs with them."""
    return words(_modules().methods.buffers)


@cache
def submodule_methods() -> frozenset[str]:
    """Return the methods that yield a module's submodules or pairs with them."""
    return words(_modules().methods.submodules)


@cache
def iterator_methods() -> frozenset[str]:
    """Return the methods whose result is an iterator: empty after one pass."""
    return words(_modules().methods.iterators)


@cache
def mode_methods() -> frozenset[str]:
    """Return the methods that switch between training and evaluation."""
    return words(_modules().methods.mode)


@cache
def _modules() -> _Modules:
    return read_toml("modules.toml", _Modules)
