"""An optimizer is made anew in every iteration that makes a step with it.

## Why this is wrong

Adam's averages, momentum and every other state live in the optimizer. One that is made for a single step begins with
none of it: Adam then moves every weight by the full learning rate, whatever the size of the gradient, and momentum
never builds up. Schedulers that were given an earlier one have no effect. Nothing raises.

## Examples

```python
import torch


def train(model, loader, criterion):
    for x, y in loader:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)  # error
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

## Use instead

```python
import torch


def train(model, loader, criterion):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

## Known limits

Plain SGD keeps nothing, an optimizer per epoch forgets on purpose, and a model that starts anew needs a new one:

```python
import torch


def train(model, loader, criterion, epochs):
    for epoch in range(epochs):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01 / (epoch + 1))
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
```

## Runtime check

```python
# shows: model.bias.item() - before > 0.018
model = nn.Linear(2, 1)
before = model.bias.item()
batch = (torch.ones(3, 2), torch.full((3, 1), 9.0))
nearly = (torch.ones(3, 2), model(torch.ones(3, 2)).detach() + 0.04)
train(model, [batch, nearly], nn.MSELoss())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class OptimizerMadeInLoop(Rule):
    """`Adam(model.parameters())` inside of the loop over batches."""

    code = "GRD509"
    name = "optimizer-made-in-loop"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{optimizer}` is made in every iteration, and makes one step: what it remembers is lost"
    help = "make it once, in front of the loop"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report optimizers that live for one step."""
        for fact in facts.short_lived:
            yield self.finding(fact.span, fact.because, optimizer=fact.optimizer)
