"""An average, a bank or a buffer is updated with a tracked tensor: the state joins the graph and drags it along.

## Why this is wrong

State that lives on from step to step is computed from its own old value. Mixed with something on the graph it is on
the graph itself, and so is everything that is mixed into it later: the graphs of all steps hang together. Memory grows
with every step; the first backward that goes through the state walks into the graphs of earlier steps, which are freed:
`Trying to backward through the graph a second time`. A module whose buffer requires grad can no longer be copied by
`deepcopy`. The `step` of an optimizer records as well, unless it is decorated or reads the parameters as `.data`.

## Examples

```python
import torch
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        h = torch.tanh(self.encoder(x))
        self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)  # error
        return h - self.mean
```

```python
import torch


class Shadow:
    def __init__(self, model):
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model):
        for name, p in model.named_parameters():
            self.shadow[name] = 0.9 * self.shadow[name] + 0.1 * p  # error
```

## Use instead

```python
import torch
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        h = torch.tanh(self.encoder(x))
        with torch.no_grad():
            self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return h - self.mean
```

## Known limits

State is told by `register_buffer`, by its name (`center`, `bank`, `average` ...), by what is computed (a maximum or a
minimum of the old value and a new one, outside of modules also a decayed average), or by being read only to take
numbers out of it; any other attribute may be a loss that is added up on purpose. What is mixed in must be on the graph
for certain: the input of a layer may be, unless a module of the same file hands it what another layer made, or the
layer hands a gradient straight through to it: `x + (q - x).detach()`.

```python
import torch
from torch import nn


class Normalise(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))

    def forward(self, x):
        self.running_mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return x - self.running_mean
```

A running sum of backwarded losses in a loop belongs to graph-kept-after-backward, a recurrent state to
state-carried-with-graph. What a parameter such as `use_cache` asks for is taken to be for inference.

## Fix safety

The fix puts the statement under `torch.no_grad()`. A model that was meant to learn through its own statistics would no
longer do so: it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "backward through the graph a second time"
model = Centred()
for _ in range(2):
    (model(torch.ones(3, 4)) ** 2).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, RunningGraph
    from gradlint.fix import Source


class GraphInRunningState(Rule):
    """State that is updated with tracked tensors."""

    code = "GRD411"
    name = "graph-in-running-state"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{store}` joins the graph of `{value}`, and keeps those of all earlier steps"
    help = "detach what is written into `{store}`, or update it inside `torch.no_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report updates of state from its old value and something that is on the graph."""
        for update in () if facts.guarded else facts.running_graphs:
            yield self.finding(update.span, update.because, fact=update, store=update.store, value=update.value)

    def fix(self, fact: RunningGraph, source: Source) -> Fix:
        """Update it with gradients off."""
        return Fix(Safety.UNSAFE, "update it with gradients off", modes.guarded(source, fact.span))
