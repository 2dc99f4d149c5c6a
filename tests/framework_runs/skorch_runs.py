"""skorch: `fit` with and without a validation set, `predict`, and the steps on their own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import skorch
import torch
from skorch.callbacks import Callback

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

ZEROS, LABELS = np.zeros((12, 1), dtype=np.float32), np.array([0, 1] * 6)
NETS = {
    skorch.NeuralNet: (torch.nn.MSELoss, 1, ZEROS),
    skorch.NeuralNetRegressor: (torch.nn.MSELoss, 1, ZEROS),
    skorch.NeuralNetClassifier: (torch.nn.CrossEntropyLoss, 2, LABELS),
    skorch.NeuralNetBinaryClassifier: (torch.nn.BCEWithLogitsLoss, 1, LABELS.astype(np.float32)),
}
"""Of each kind of net: criterion, outputs and what it is to learn."""
X = np.linspace(0, 1, 24, dtype=np.float32).reshape(12, 2)


class Layer(torch.nn.Linear):
    """One layer."""

    def __init__(self, outputs: int) -> None:
        super().__init__(2, outputs)


class Plain(torch.optim.SGD):
    """Calls the closure in the mode in force; torch's own switch gradients on for it."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        super().step()
        return loss


def net(kind: Any, cls: Any, **options: Any) -> Any:
    """Return an initialized net of a kind that prints nothing."""
    criterion, outputs, _ = NETS[kind]
    made = cls(Layer, criterion=criterion, module__outputs=outputs, max_epochs=2, batch_size=2, verbose=0, **options)
    return made.initialize()


def fit(watch: Watch, kind: Any, **options: Any) -> object:
    """Train, and predict."""
    ready = net(kind, watch.watched(kind), callbacks=[watch.watched(Callback)()], **options)
    watch.module(ready.module_)
    with watch.caller():
        ready.partial_fit(X, NETS[kind][2])
        return list(ready.forward_iter(X))


SCENARIOS = tuple(
    functools.partial(fit, kind=kind, **options)
    for kind in NETS
    for options in ({}, {"train_split": None}, {"optimizer": Plain})
)

# -- calls ---------------------------------------------------------------------------------------------------------


def call(trial: Trial, method: str, argument: Any) -> None:
    ready = net(skorch.NeuralNetClassifier, skorch.NeuralNetClassifier)
    trial.module("self.module_", ready.module_)
    trial.call(getattr(ready, method), argument)


BATCH = (torch.from_numpy(X), torch.zeros(12, dtype=torch.long))
CALLS: Probes = {
    "skorch.NeuralNet.predict": (functools.partial(call, method="predict", argument=X),),
    "skorch.NeuralNet.predict_proba": (functools.partial(call, method="predict_proba", argument=X),),
    "skorch.NeuralNet.validation_step": (functools.partial(call, method="validation_step", argument=BATCH),),
    "skorch.NeuralNet.evaluation_step": (functools.partial(call, method="evaluation_step", argument=BATCH),),
}
