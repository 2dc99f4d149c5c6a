"""Backward is called on a loss of many values, without a gradient to start from.

## Why this is wrong

Backward starts from a derivative of one. For a scalar that is the number 1; for a tensor of many values it must be
given, or torch raises `grad can be implicitly created only for scalar outputs`. A loss with `reduction="none"` has one
value per element, and the loss that an `nn.DataParallel` model computes inside its forward one per device: the latter
works until there is a second GPU.

## Examples

```python
import torch.nn.functional as F


def step(model, x, y):
    loss = F.mse_loss(model(x), y, reduction="none")
    loss.backward()  # error
```

```python
from torch import nn


def train(model, loader, optimizer):
    model = nn.DataParallel(model)
    for x, y in loader:
        optimizer.zero_grad()
        loss = model(x, y)
        loss.backward()  # error
        optimizer.step()
```

## Use instead

```python
import torch.nn.functional as F


def step(model, x, y):
    loss = F.mse_loss(model(x), y, reduction="none")
    loss.mean().backward()
```

## Known limits

Shapes are not followed: only a loss that is known not to be reduced is reported, or a tensor that is made with more
than one value, where nothing between it and backward could reduce it.

```python
import torch


def step(model, x):
    model(x).pow(2).backward()
```

There is no fix: whether the mean or the sum is meant decides about the size of the gradients.

## Runtime check

```python
# raises: RuntimeError "only for scalar outputs"
step(nn.Linear(4, 2), torch.ones(3, 4), torch.zeros(3, 2))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

WHAT = {"non-scalar": "a tensor of many values", "data-parallel": "one value per device"}


class NonscalarBackward(Rule):
    """Backward from a tensor of many values."""

    code = "GRD408"
    name = "nonscalar-backward"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` starts from {what}, and no gradient is given"
    help = "reduce it first, as in `loss.mean().backward()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report passes from losses that are known not to be reduced."""
        for odd in facts.odd_passes:
            if odd.form in ("non-scalar", "data-parallel"):
                yield self.finding(odd.span, odd.because, call=odd.call, what=WHAT[odd.form])
