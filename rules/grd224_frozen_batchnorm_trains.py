"""A frozen module has batch norms that stay in train mode, or get back into it.

## Why this is wrong

`requires_grad = False` stops weights from being trained. The running mean and variance of a batch norm are no weights:
every forward in train mode moves them, whatever is frozen, and normalises by the batch. Only `eval()` stops that, and
the next `train()` of the module around it takes it back. The frozen network then is not the one that was pretrained.

## Examples

```python
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        for p in self.backbone.parameters():
            p.requires_grad = False  # error
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.backbone(x))
```

## Use instead

```python
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        for p in self.backbone.parameters():
            p.requires_grad = False
        self.head = nn.Linear(4, 1)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        return self.head(self.backbone(x))
```

## Known limits

Statistics that follow the new data may be wanted, and nothing in the code tells: the finding is only possible, and
hidden by default. Whether a module has batch norms must be plain from what it was made of, or from the name of a model
of torchvision; whoever puts it into eval mode from outside is not seen:

```python
from torch import nn


def freeze(backbone):
    backbone.requires_grad_(False)
    return nn.Sequential(backbone, nn.Linear(4, 1))
```

## Runtime check

```python
# shows: float(model.backbone[1].running_mean.abs().sum()) > 0
model = Classifier().train()
model(torch.ones(3, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class FrozenBatchnormTrains(Rule):
    """Frozen weights beside statistics that move."""

    code = "GRD224"
    name = "frozen-batchnorm-trains"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.POSSIBLE
    message = "`{name}` is frozen, but the statistics of its batch norms move in train mode, {when}"
    help = "put it into eval mode in `train` of the module around it: `super().train(mode)`, then `.eval()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report freezes of batch norms that nobody keeps in eval mode."""
        for fact in facts.live_statistics:
            when = "which the next `train()` puts it in again" if fact.undone else "which nothing here keeps it out of"
            yield self.finding(fact.span, fact.because, name=fact.name, when=when)
