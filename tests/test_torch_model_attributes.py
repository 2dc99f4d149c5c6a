"""The names of tensor attributes are those of the installed torch."""

from __future__ import annotations

import pytest
import torch

from gradlint.torch_model.attributes import (
    known_methods,
    protocol_methods,
    tensor_methods,
    tensor_properties,
    tensor_queries,
)

pytestmark = pytest.mark.torch


def public(*, callables: bool) -> set[str]:
    """The public attributes of the class Tensor that are methods, or that are not."""
    names = (name for name in dir(torch.Tensor) if not name.startswith("_"))
    return {name for name in names if callable(getattr(torch.Tensor, name, None)) is callables}


def test_methods_are_those_of_torch() -> None:
    assert tensor_methods() == public(callables=True)


def test_properties_are_those_of_torch() -> None:
    assert tensor_properties() == public(callables=False)


@pytest.mark.parametrize("name", sorted(tensor_queries()))
def test_queries_tell_nothing_of_values(name: str) -> None:
    value = torch.ones(2, 3)

    def asked() -> object:
        found = getattr(value, name)
        return found() if callable(found) else found

    before = asked()
    value.add_(1)
    assert asked() == before and name in tensor_methods() | tensor_properties()


def test_the_protocol_is_known() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    scaler = torch.amp.GradScaler("cpu")
    for name in ("step", "zero_grad"):
        assert name in protocol_methods() and callable(getattr(optimizer, name))
    for name in ("scale", "unscale_", "step", "update"):
        assert name in protocol_methods() and callable(getattr(scaler, name))
    assert protocol_methods() <= known_methods()
