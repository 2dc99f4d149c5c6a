"""What the functions of fixtures are called with: small, fresh, chosen by parameter name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_BODIES = ("generator", "encoder", "decoder", "backbone", "teacher", "student", "actor")
_HEADS = ("discriminator", "head", "critic")
_LOADERS = ("loader", "train_loader", "val_loader", "test_loader", "dataloader")

NAMES = (
    *("model", "net", "x", "y", "target", "batch", "criterion", "loss_fn", "optimizer", "opt", "w"),
    *("device", "epochs", "flag"),
    *_LOADERS,
    *_BODIES,
    *_HEADS,
)
"""The parameter names that fixtures may use."""


def arguments_for(function: Callable[..., object]) -> dict[str, Any]:
    """Return a fresh value for every parameter of ``function`` that has no default.

    Arguments of one call belong together: ``optimizer`` steps the parameters of ``model``, ``target`` is ``y``.
    Raises `LookupError` for a parameter whose name stands for nothing.
    """
    names = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise LookupError(f"no argument is called {', '.join(unknown)}; there are {', '.join(sorted(NAMES))}")
    values = _fresh()
    return {name: values[name] for name in names}


def _fresh() -> dict[str, Any]:
    def perceptron(outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, outputs))

    def loader() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.randn(3, 4), torch.randn(3, 1)) for _ in range(3)]

    model, x, y = perceptron(1), torch.randn(3, 4), torch.randn(3, 1)
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {
        **{"model": model, "net": model, "x": x, "y": y, "target": y, "batch": (x, y)},
        **{"criterion": criterion, "loss_fn": criterion, "optimizer": optimizer, "opt": optimizer},
        **{"w": torch.randn(4, requires_grad=True), "device": "cpu", "epochs": 2, "flag": True},
        **{name: loader() for name in _LOADERS},
        **{name: perceptron(4) for name in _BODIES},
        **{name: perceptron(1) for name in _HEADS},
    }
