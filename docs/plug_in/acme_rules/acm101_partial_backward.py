"""`backward(inputs=...)` fills the gradients of some parameters only.

## Why this is wrong

With `inputs`, backward accumulates into the tensors that are named and into no others. The optimizers of this code base
step whole models: what is not named keeps its old gradient, or none at all, and falls behind without an error.

## Examples

```python
import torch


def step(model, optimizer, x, y):
    loss = (model(x) - y).pow(2).mean()
    optimizer.zero_grad()
    loss.backward(inputs=[model.weight])  # error
    optimizer.step()
```

## Use instead

```python
import torch


def step(model, optimizer, x, y):
    loss = (model(x) - y).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

## Known limits

Every such call is reported, whatever the optimizer has.

## Runtime check

```python
# shows: model.bias.grad is None
model = nn.Linear(2, 1)
step(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(3, 2), torch.zeros(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint import Certainty, Rule, Severity

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.rule import Draft


class PartialBackward(Rule):
    """A backward that fills only some gradients."""

    code = "ACM101"
    name = "partial-backward"
    since = "1.0"
    severity = Severity.WARNING
    certainty = Certainty.CERTAIN
    message = "`{call}` leaves the gradients of all other parameters as they are"
    help = "leave out `inputs`, and freeze what should not be trained"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward calls that name the tensors to be filled."""
        for backward in facts.backwards:
            if backward.inputs and backward.how == "backward":
                yield self.finding(backward.span, call=backward.call or backward.how)
