"""Gradients are filled with zeros in place of being dropped.

## Why this is wrong

`zero_grad()` drops the gradients, and an optimizer skips parameters without one. With `set_to_none=False` they stay as
tensors of zeros, memory and all, and the optimizer takes them for gradients: weight decay and momentum go on moving
parameters that were frozen or that a step has not used, Adam's averages go on decaying.

## Examples

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad(set_to_none=False)  # error
    (model(x) - y).pow(2).mean().backward()
    optimizer.step()
```

## Use instead

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    (model(x) - y).pow(2).mean().backward()
    optimizer.step()
```

## Known limits

Where every parameter gets a gradient before the next step, no zero is ever applied, and mostly nothing tells: the rule
is only possible, and hidden by default. A file that captures CUDA graphs needs its gradients where they are, and is
left alone. A flag that is a variable is not reported:

```python
def clear(optimizer, drop):
    optimizer.zero_grad(set_to_none=drop)
```

## Fix safety

The fix takes the argument away. Code that reads `p.grad` then meets None, and frozen parameters stop moving: it is
unsafe and never applied unasked.

## Runtime check

```python
# shows: model.weight.item() != before
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
step(model, optimizer, torch.ones(3, 1), torch.ones(3, 1))
model.weight.requires_grad_(False)
before = model.weight.item()
step(model, optimizer, torch.ones(3, 1), torch.ones(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import stepping
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.protocol import KeptTensors
    from gradlint.fix import Source


class ZeroGradKeepsTensors(Rule):
    """`zero_grad(set_to_none=False)`."""

    code = "GRD510"
    name = "zero-grad-keeps-tensors"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.POSSIBLE
    message = "`{call}` leaves gradients of zeros, which the optimizer applies"
    help = "write `zero_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls that keep zeros."""
        for fact in facts.kept_tensors:
            yield self.finding(fact.span, fact=fact, call=fact.call)

    def fix(self, fact: KeptTensors, source: Source) -> Fix:
        """Drop the gradients."""
        return Fix(Safety.UNSAFE, "drop the gradients", stepping.dropped(source, fact))
