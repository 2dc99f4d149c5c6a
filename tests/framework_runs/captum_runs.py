"""Captum: one attribution by every method, of a model with a convolution."""

from __future__ import annotations

import functools
from typing import Any

import torch
from captum import attr

from framework_runs.contracts import contracts, resolve
from framework_runs.trial import Probes, Trial, parameters

SCENARIOS = ()
INPUTS = torch.linspace(-1, 1, 18).reshape(2, 1, 3, 3)
OPTIONS: dict[str, Any] = {
    "target": 0,
    "neuron_selector": (0, 0, 0),
    "baselines": torch.zeros(2, 1, 3, 3),
    "feature_mask": torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1]).reshape(1, 1, 3, 3),
    "n_samples": 3,
    "n_steps": 2,
    "sliding_window_shapes": (1, 2, 2),
}
"""What is said where a method asks for it: as little work as possible."""


class Net(torch.nn.Module):
    """A convolution and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 2, 2)
        self.between = torch.nn.ReLU()
        self.last = torch.nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(inputs)).flatten(1))


def attribute(trial: Trial, method: Any) -> None:
    """Attribute by a method; those of layers and neurons look at the convolution."""
    asked = parameters(method)
    net = trial.module(asked[0], Net())
    made = trial.call(method, net, *([net.first] if "layer" in asked else []))
    asked = parameters(made.attribute)
    if method is attr.LayerFeaturePermutation:  # selects the target twice, and fails
        asked = tuple(name for name in asked if name != "target")
    trial.use(made.attribute, INPUTS.clone(), **{name: value for name, value in OPTIONS.items() if name in asked})


CALLS: Probes = {
    name: (functools.partial(attribute, method=resolve(name)),)
    for row in contracts()["captum"].call
    for name in row.names
}
