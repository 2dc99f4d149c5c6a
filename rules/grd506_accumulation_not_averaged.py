"""The losses of an accumulation are added up without being divided by their number.

## Why this is wrong

Each `backward()` adds to the gradients that are there. After `n` micro-batches they are the sum of `n` gradients, `n`
times as large as that of one batch of the same size, if the loss is a mean, as almost all are. The step is then `n`
times as long with SGD, clipping to a fixed norm bites `n` times as early, and every change of the number of
micro-batches changes the learning rate in disguise. Nothing raises.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer, accumulation_steps):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        loss.backward()  # error
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
```

## Use instead

```python
import torch


def train(model, loader, criterion, optimizer, accumulation_steps):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        (loss / accumulation_steps).backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
```

## Known limits

Reported is what says that it accumulates: a number of steps with such a name, in `range(...)` or behind `%`, or a loop
over the pieces of a batch, `x.split(...)` or `chunk`, that goes backward from the mean of each. Where the loss comes
from a function that is not a loss by its name, where something divides the gradients or the learning rate, and where a
loss in the file is a sum (`reduction="sum"`), it may be right:

```python
import torch
import torch.nn.functional as F


def train(model, loader, optimizer, accumulation_steps):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
```

## Fix safety

The fix divides the loss where backward starts from it. It changes the results of training, and a learning rate that was
found with the sum is too small for the mean: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: gradient.abs().item() > 2 * single
model = nn.Linear(2, 1, bias=False)
model.weight.data.fill_(0.0)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
loader = [(torch.ones(3, 2), torch.ones(3, 1))] * 4
single = 2.0
train(model, loader, nn.MSELoss(), optimizer, 4)
gradient = model.weight[0, 0].detach()
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
    from gradlint.facts.protocol import Summed
    from gradlint.fix import Source


class AccumulationNotAveraged(Rule):
    """Gradients of micro-batches that are summed where a mean is meant."""

    code = "GRD506"
    name = "accumulation-not-averaged"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{call}` adds up the gradients of `{number}` micro-batches, and nothing divides the loss by that"
    help = "divide the loss by `{number}` before the backward"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward passes of an accumulation whose loss is not divided."""
        for fact in facts.summed:
            yield self.finding(fact.span, fact.because, fact=fact, call=fact.call, number=fact.number)

    def fix(self, fact: Summed, source: Source) -> Fix:
        """Divide the loss."""
        return Fix(Safety.UNSAFE, f"divide by `{fact.number}`", stepping.divided(source, fact))
