"""The loss is computed through `round`, `sign` or the like, whose gradient is zero everywhere.

## Why this is wrong

`round`, `floor`, `ceil`, `trunc`, `sign` and `bernoulli` are flat, but for their steps. torch keeps a graph through
them and hands back zeros: backward runs, every `.grad` is there, and all of them are zero. The optimizer steps, weight
decay shrinks the weights, and nothing is learned. There is no error and no warning.

## Examples

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    stars = model(x).round()  # error
    F.mse_loss(stars, y).backward()
```

## Use instead

Train on the value itself and round afterwards:

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    out = model(x)
    F.mse_loss(out, y).backward()
    return out.round()
```

Where the rounded value must go on through the network, let the gradient pass by it:

```python
import torch
import torch.nn.functional as F


def quantized_step(model, x, y):
    out = model(x)
    hard = out + (out.round() - out).detach()
    F.mse_loss(hard, y).backward()
```

## Known limits

Reported is a loss, or a term of one, behind which nothing else can pass a gradient. Rounding inside of a model, and
`clamp` outside of its range, are not followed:

```python
import torch


def step(model, x, y):
    out = model(x)
    (out.sign() * (out - y)).mean().backward()
```

## Runtime check

```python
# shows: float(model.weight.grad.abs().sum()) == 0
model = nn.Linear(4, 1)
step(model, torch.ones(2, 4), torch.full((2, 1), 9.3))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class ZeroGradientOp(Rule):
    """A flat function between the loss and what should be trained."""

    code = "GRD214"
    name = "zero-gradient-op"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "the gradient of `{call}` is zero everywhere, and the loss is computed from it: {effect}"
    help = "train on the value itself, or pass the gradient by: `x + (x.round() - x).detach()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report flat functions on the way to the loss."""
        for cut in facts.lost_graphs:
            if cut.kind == "zero":
                effect = "all gradients behind it are zero" if cut.whole else "it adds nothing to any gradient"
                yield self.finding(cut.span, cut.because, call=cut.call, effect=effect)
