"""A tensor of the loss becomes a Python number, so that no gradient comes back through it.

## Why this is wrong

`.item()`, `float()`, `int()` and the functions of `math` return plain numbers. They have no graph. If the whole loss is
made a number, `loss.backward()` raises `AttributeError: 'float' object has no attribute 'backward'`, or, wrapped in a
tensor again, `element 0 of tensors does not require grad`.

If it is one term of a sum, nothing raises: the loss looks right in every log, and that term trains nothing. torch warns
of `float()` and `math`, and not of `.item()`.

## Examples

```python
import torch


def step(model, x, y, criterion):
    out = model(x)
    penalty = out.pow(2).mean()
    loss = criterion(out, y) + 0.1 * penalty.item()  # error
    loss.backward()
```

```python
import math

import torch


def step(model, x, y, criterion):
    loss = criterion(model(x), y)
    total = math.sqrt(loss)  # error
    total.backward()
```

## Use instead

```python
import torch


def step(model, x, y, criterion):
    out = model(x)
    penalty = out.pow(2).mean()
    loss = criterion(out, y) + 0.1 * penalty
    loss.backward()
    return penalty.item()
```

## Known limits

A number that scales the loss, decides something or is logged is a constant on purpose and not reported; nor is one that
is taken from the loss it is subtracted from. A loss that is returned, and differentiated by a caller, is not followed:

```python
import torch


def step(model, x, y, criterion):
    loss = criterion(model(x), y)
    if loss.item() > 10:
        loss = loss / loss.item()
    loss.backward()
    return float(loss)
```

## Fix safety

The fix leaves out `.item()` or `float()`. The term counts from then on, which changes training: it is unsafe. There is
none for functions of `math` and of integers.

## Runtime check

```python
# shows: (model.weight.grad - expected).abs().max() > 1e-6
model = nn.Linear(4, 1)
x, y = torch.ones(2, 4), torch.zeros(2, 1)
out = model(x)
(expected,) = torch.autograd.grad(nn.functional.mse_loss(out, y) + 0.1 * out.pow(2).mean(), [model.weight])
step(model, x, y, nn.MSELoss())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import detaching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import LostGraph
    from gradlint.fix import Source


class ScalarBreaksGraph(Rule):
    """A number where the loss needs a tensor."""

    code = "GRD209"
    name = "scalar-breaks-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` makes a number of `{name}` on the way to the loss: {effect}"
    help = "leave it a tensor, and make a number of it for logs only"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report numbers made of what the loss is computed from."""
        for cut in facts.lost_graphs:
            if cut.kind == "number":
                effect = (
                    "nothing is left to go back from, and backward raises"
                    if cut.whole
                    else "it adds nothing to any gradient"
                )
                name = cut.name or "the value"
                yield self.finding(cut.span, cut.because, fact=cut, call=cut.call, name=name, effect=effect)

    def fix(self, fact: LostGraph, source: Source) -> Fix:
        """Leave the value a tensor."""
        return Fix(Safety.UNSAFE, "leave it a tensor", detaching.kept(source, fact))
