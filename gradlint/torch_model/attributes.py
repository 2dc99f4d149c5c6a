"""The public attributes of ``torch.Tensor`` and the methods that other objects of training code have."""

from __future__ import annotations

from functools import cache

import msgspec

from gradlint.torch_model.load import read_toml, words
from gradlint.torch_model.nn import module_methods
from gradlint.torch_model.tensors import views


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    queries: str
    methods: str
    properties: str


class _Attributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensor: _Tensor
    protocol: str
    containers: str


@cache
def tensor_methods() -> frozenset[str]:
    """Return the public methods of a tensor."""
    return words(_attributes().tensor.methods)


def makes_tensor(name: str) -> bool:
    """Whether a method of a tensor returns a new one, neither that itself nor a view of it."""
    return name in tensor_methods() and not name.endswith("_") and name not in views()


@cache
def tensor_properties() -> frozenset[str]:
    """Return the public attributes of a tensor that are no methods."""
    return words(_attributes().tensor.properties)


@cache
def tensor_queries() -> frozenset[str]:
    """Return the attributes and methods that tell nothing of a tensor's values: its shape, dtype, place."""
    return words(_attributes().tensor.queries)


@cache
def protocol_methods() -> frozenset[str]:
    """Return the methods of optimizers, scalers and whatever runs a training step."""
    return words(_attributes().protocol)


@cache
def known_methods() -> frozenset[str]:
    """Return every name that, read from something unknown, is more likely a method than data."""
    return tensor_methods() | module_methods() | protocol_methods() | words(_attributes().containers)


@cache
def _attributes() -> _Attributes:
    return read_toml("attributes.toml", _Attributes)
