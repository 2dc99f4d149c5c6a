"""Elements without a finite derivative are taken out after they were computed, so that their gradient is NaN.

## Why this is wrong

`torch.where(x > 0, torch.log(x), 0)` computes the logarithm of every element and picks afterwards. Backward hands the
branch that was not picked a gradient of zero, the derivative of the logarithm at zero is infinite, and zero times
infinity is NaN. One such element makes the whole gradient of everything before it NaN, and the next step all weights.
The loss itself looks healthy. `masked_fill`, writing over a part, and `nan_to_num` take out too late in the same way.

`sqrt` of a sum of squares has no derivative at zero either: the distance of each element to itself, on the diagonal of
all distances, is such a zero. `norm()` and `cdist` know of it and are safe.

## Examples

```python
import torch
import torch.nn.functional as F


def loss_of(out, y):
    logarithms = torch.where(out > 0, torch.log(out), torch.zeros_like(out))  # error
    return F.mse_loss(logarithms, y)


def train(model, x, y):
    loss_of(model(x), y).backward()
```

## Use instead

Put something harmless in their place *before* the operation, and take out after it:

```python
import torch
import torch.nn.functional as F


def loss_of(out, y):
    safe = torch.where(out > 0, out, torch.ones_like(out))
    logarithms = torch.where(out > 0, torch.log(safe), torch.zeros_like(out))
    return F.mse_loss(logarithms, y)


def train(model, x, y):
    loss_of(model(x), y).backward()
```

## Known limits

Reported is a condition about the very expression that the operation is given, on what is on the graph, in a `forward`,
or in a function that is called a loss; elsewhere the finding is only possible, which is hidden by default. A root or a
logarithm that nothing is taken out of is not reported, for it may never see a zero:

```python
import torch


def distance_loss(a, b):
    return torch.sqrt(((a - b) ** 2).sum(-1)).mean()
```

## Runtime check

```python
# shows: bool(model.weight.grad.isnan().any())
model = nn.Linear(2, 1)
model.weight.data.zero_()
model.bias.data.zero_()
train(model, torch.ones(3, 2), torch.zeros(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

WHY = {
    "selected": "`{by}` takes elements out after `{call}`, whose derivative is infinite there: their gradient is NaN",
    "replaced": "`{by}` replaces what is no number after `{call}`: the gradient there is NaN all the same",
    "diagonal": "`{call}` of the distance of each element to itself, which is zero: the gradient there is NaN",
}


class NanGradient(Rule):
    """Zero times an infinite derivative."""

    code = "GRD215"
    name = "nan-gradient"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = WHY["selected"]
    help = "put a harmless value in their place before the operation: `safe = torch.where(condition, x, 1)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report elements that are taken out too late."""
        for fact in facts.nan_gradients:
            yield self.finding(
                fact.span,
                fact.because,
                certainty=Certainty.LIKELY if fact.sure else Certainty.POSSIBLE,
                message=WHY[fact.form],
                help="take the norm, whose gradient at zero is zero" if fact.form == "diagonal" else None,
                by=fact.by,
                call=fact.call,
            )
