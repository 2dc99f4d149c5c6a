"""Two parameters are tied by their data, by a copy, or after the optimizer was made: they are trained as two.

## Why this is wrong

Weights are tied by one parameter that two layers hold. `decoder.weight.data = encoder.weight.data` leaves two
parameters that share their memory: each gets the gradient of its own uses, and an optimizer steps the memory twice,
with two momenta, so that Adam moves it up to twice as far and weight decay counts double. The first `.to(dtype)` takes
them apart for good. `copy_` makes them equal for once.

If an optimizer was made before, it keeps the parameter that was replaced.

## Examples

```python
import torch
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.decoder = nn.Linear(4, 4)
        self.decoder.weight.data = self.encoder.weight.data.t()  # error

    def forward(self, x):
        return self.decoder(self.encoder(x).relu())
```

```python
import torch
from torch import nn


def train(x):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
    second.weight = first.weight  # error
    second(first(x)).sum().backward()
    optimizer.step()
```

## Use instead

Assign the parameter itself, before the optimizer is made, or compute the transposed one where it is used:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(self.encoder(x).relu(), self.encoder.weight.t())


def train(x):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    optimizer = torch.optim.SGD([*first.parameters(), second.bias], lr=0.1)
    second(first(x)).sum().backward()
    optimizer.step()
```

## Known limits

Weights are handed over through `.data` for many reasons. Reported is what a constructor, or a function that is called
after tying, writes from one layer of `self` to another, and between two layers that the same function runs and trains;
`copy_` in functions that are called after tying only. A function that does so with many layers converts a model. Silent
are targets, teachers and averages, and what loads, converts or updates by its name:

```python
import torch
from torch import nn


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Linear(4, 1)
        self.target_critic = nn.Linear(4, 1)
        self.target_critic.weight.data = self.critic.weight.data.clone()


def widen(old):
    new = nn.Linear(4, 4)
    new.weight.data = old.weight.data
    return new
```

## Runtime check

```python
# shows: len(list(Autoencoder().parameters())) == 4
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

MESSAGES = {
    "copied": "`{name}` is a copy of `{other}` for once: the two are trained apart",
    "late": "`{name}` is tied after the optimizer was made, which keeps the parameter that it was",
}

TRANSPOSED = "do without the second layer: `F.linear(x, {other}.t())` uses the one parameter twice"


class ParametersUntied(Rule):
    """Parameters that were meant to be one."""

    code = "GRD228"
    name = "parameters-untied"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` shares the memory of `{other}` and is a parameter of its own: both are stepped"
    help = "assign the parameter itself, `{name} = {other}`, before the optimizer is made"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report ties that leave two parameters."""
        for fact in facts.untied:
            yield self.finding(
                fact.span,
                fact.because,
                message=MESSAGES.get(fact.form),
                help=TRANSPOSED if fact.form == "turned" else None,
                name=fact.name,
                other=fact.other,
            )
