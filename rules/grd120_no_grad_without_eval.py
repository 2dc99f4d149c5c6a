"""A module is evaluated with gradients off while it is in train mode.

## Why this is wrong

`no_grad` says nothing about dropout and batch norm. In train mode dropout goes on dropping, so that results differ from
run to run and are worse than they should be; batch norm normalises with the batch at hand and updates its running
statistics with test data. Only `model.eval()` changes that.

## Examples

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.layer(x))


def accuracy(test_loader):
    net = Net()
    net.train()
    with torch.no_grad():
        for x, y in test_loader:
            print((net(x) - y).abs().mean().item())  # error
    return net
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.layer(x))


def accuracy(test_loader):
    net = Net()
    net.eval()
    with torch.no_grad():
        for x, y in test_loader:
            print((net(x) - y).abs().mean().item())
    return net
```

## Known limits

Reported is a module that is in train mode for certain, that has a layer which computes something else there, and that
runs over data for evaluation, in a function that evaluates, or on what is called `x_test` in one that trains it; with a
dropout also one whose results are compared (`torch.allclose`). A module whose mode is set elsewhere is left alone, and
so is code that keeps dropout on purpose, by its name (`mc_dropout`) or by running the module several times:

```python
import torch


def spread(model, x):
    model.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(8)]).std(0)
```

## Fix safety

The fix calls `eval()` in front of the block. Where training goes on afterwards, a `train()` is then missing: it is
unsafe and never applied unasked.

## Runtime check

```python
# shows: accuracy([(torch.ones(3, 2), torch.ones(3, 1))]).training
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import switching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import NoisyInference
    from gradlint.fix import Source


class NoGradWithoutEval(Rule):
    """Evaluation with gradients off and dropout or batch norm on."""

    code = "GRD120"
    name = "no-grad-without-eval"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{module}` is evaluated in train mode: `{layer}` computes something else there"
    help = "call `{module}.eval()` before, and `{module}.train()` before training goes on"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report evaluations in train mode."""
        for fact in facts.noisy:
            yield self.finding(fact.span, fact.because, fact=fact, module=fact.module, layer=fact.layer)

    def fix(self, fact: NoisyInference, source: Source) -> Fix:
        """Put the module in eval mode."""
        return Fix(Safety.UNSAFE, f"call `{fact.module}.eval()`", switching.evaluated(source, fact))
