"""An optimizer steps between a forward and its backward.

## Why this is wrong

The graph of a forward keeps the parameters as they were. A step edits them in place, and a backward through that graph
afterwards raises `RuntimeError: one of the variables needed for gradient computation has been modified by an inplace
operation`. Two losses that are computed first and used one after the other are the usual way to get there, above all
where one loss goes through a module that is another optimizer's.

## Examples

```python
import torch
from torch import nn


def two_steps(x, y, loss_fn):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = loss_fn(model(x), y)
    second = loss_fn(model(x + 1), y)
    first.backward()
    optimizer.step()
    optimizer.zero_grad()
    second.backward()  # error
    optimizer.step()
```

## Use instead

Run the forward behind the step, or both backward passes before it:

```python
import torch
from torch import nn


def two_steps(x, y, loss_fn):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    loss_fn(model(x + 1), y).backward()
    optimizer.step()
```

## Known limits

It must be in sight which module the optimizer was made for, or one must be called after the other (`critic` and
`critic_optimizer`). What a `fused=True` optimizer changes, torch does not count: there is no error but a wrong
gradient, which another rule reports. A single layer may not need its parameters for backward and is silent; so is a
backward in the next iteration of a loop, and one that shares only a call with an earlier one:

```python
import torch
from torch import nn


def two_losses(x, y, loss_fn):
    layer = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    first = loss_fn(layer(x), y)
    second = loss_fn(layer(x + 1), y)
    first.backward()
    optimizer.step()
    optimizer.zero_grad()
    second.backward()
    optimizer.step()
```

## Runtime check

```python
# raises: RuntimeError "modified by an inplace operation"
two_steps(torch.ones(2, 4), torch.ones(2, 1), F.mse_loss)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class StepBeforeBackwardOfGraph(Rule):
    """A backward through a graph whose parameters a step has changed."""

    code = "GRD305"
    name = "step-before-backward-of-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` goes through `{module}` as it was before `{optimizer}` has changed it"
    help = "run this backward before the step, or the forward behind it"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward passes through forwards from before a step."""
        for late in facts.late_backwards:
            if late.fused:
                continue
            module = late.module or "the module"
            yield self.finding(late.span, late.because(), call=late.call, module=module, optimizer=late.optimizer)
