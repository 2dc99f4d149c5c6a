"""The loss is a fresh constant on some path, from which no backward can start.

## Why this is wrong

`torch.tensor(0.0)` has no graph. A function that returns it where there is nothing to learn from, a batch without
positives, say, works for months and then raises `element 0 of tensors does not require grad and does not have a
grad_fn`. With `requires_grad=True` the error goes away and the constant becomes a leaf: backward then trains nothing.

## Examples

```python
import torch
import torch.nn.functional as F


def masked_loss(out, y, mask):
    if not mask.any():
        return torch.tensor(0.0)  # error
    return F.mse_loss(out[mask], y[mask])


def train_step(model, x, y, mask, optimizer):
    loss = masked_loss(model(x), y, mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

## Use instead

Return a zero that hangs on the graph, whose gradients are zero:

```python
import torch
import torch.nn.functional as F


def masked_loss(out, y, mask):
    if not mask.any():
        return out.sum() * 0.0
    return F.mse_loss(out[mask], y[mask])


def train_step(model, x, y, mask, optimizer):
    loss = masked_loss(model(x), y, mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

Or ask before going backward:

```python
import torch
import torch.nn.functional as F


def masked_loss(out, y, mask):
    if not mask.any():
        return torch.tensor(0.0)
    return F.mse_loss(out[mask], y[mask])


def train_step(model, x, y, mask, optimizer):
    loss = masked_loss(model(x), y, mask)
    optimizer.zero_grad()
    if loss.requires_grad:
        loss.backward()
        optimizer.step()
```

## Known limits

A constant term of a sum is right, and so is a sum that starts as one: every term must be able to be a constant. The
backward and the function must stand in one file. There is no fix: what is on the graph there is not known.

```python
import torch


def total(terms):
    loss = torch.zeros(())
    for term in terms:
        loss = loss + term
    loss.backward()
```

## Runtime check

```python
# raises: RuntimeError "does not require grad"
model = nn.Linear(4, 1)
nothing = torch.zeros(3, 1, dtype=torch.bool)
train_step(model, torch.ones(3, 4), torch.ones(3, 1), nothing, torch.optim.SGD(model.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

SILENCED = "`{constant}` is a leaf of its own: where `{call}` starts from it, it trains nothing"


class LossMayBeConstant(Rule):
    """Losses without a graph on some path."""

    code = "GRD420"
    name = "loss-may-be-constant"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{constant}` has no graph, and `{call}` may start from it"
    help = "use a zero computed from the output (`out.sum() * 0.0`), or ask for `requires_grad` before the backward"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report the constants that a backward pass may start from."""
        for loss in facts.constant_losses:
            message = SILENCED if loss.leaf else None
            yield self.finding(loss.span, loss.because, message=message, constant=loss.constant, call=loss.call)
