"""A backwarded loss is stored across iterations, with what backward leaves of its graph.

## Why this is wrong

Backward frees the activations that a graph saved, but not the graph. A running sum or a list of losses holds the nodes
of every iteration: each holds its inputs' nodes, the parameters, and whatever a custom `Function` put on its `ctx`.
Memory grows by some kilobytes per step for small models and by megabytes for large ones, slowly enough to be found
after hours. And whoever goes backward from the sum later is told that the graph was freed.

`.cpu()` and `.clone()` do not help: both are recorded, and the copy holds the graph of the original.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer):
    running_loss = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        running_loss += loss  # error
    return running_loss / len(loader)
```

```python
import torch


class Trainer:
    def __init__(self, model, criterion, optimizer):
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.losses = []

    def train_step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss)  # error
```

## Use instead

Store a number, or a detached tensor where waiting for the device would be too slow:

```python
import torch


def train(model, loader, criterion, optimizer):
    running_loss = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        running_loss += loss.detach()
    return running_loss / len(loader)
```

## Known limits

What is summed up first and backwarded later is stored rightly, and a name that is overwritten holds one graph only:

```python
import torch


def accumulate(model, loader, criterion, optimizer):
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()


def last(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    return loss
```

A loss that a method stores and returns is reported where a caller in the file, or a framework such as Lightning, goes
backward from it. What is stored under one and the same key holds one graph, too. What is given to a meter whose code is
not in sight is reported where such a meter gets numbers elsewhere, so that it is clear what it takes, and what a
stopping criterion is given, which compares it with earlier values; what a logger gets is not. Nor is a list of the few
batches of one step, which begins anew with the next. Results that *nobody*
backwards keep everything and belong to another rule, graph-kept-without-backward.

## Fix safety

The fix stores `.detach()`, where what is stored is surely a tensor and backward does not start from the store. Whoever
differentiates the stored values later, in code that is not in sight, would find no graph: it is unsafe and never
applied unasked.

## Runtime check

```python
# shows: getattr(total, "grad_fn", None) is not None
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = train(model, [(torch.ones(3, 2), torch.zeros(3, 1))] * 3, nn.MSELoss(), optimizer)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, first, storing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, PiledGraph
    from gradlint.fix import Source


class GraphKeptAfterBackward(Rule):
    """Walked losses that are stored across iterations."""

    code = "GRD403"
    name = "graph-kept-after-backward"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{store}` keeps the graph of `{target}` of every iteration, after its backward"
    help = "store `{target}.detach()` or `{target}.item()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report stores, across iterations, of values that a backward walks."""
        for kept in facts.piled_graphs:
            yield self.finding(kept.span, because=kept.because, fact=kept, store=kept.store, target=kept.target)

    def fix(self, fact: PiledGraph, source: Source) -> Fix:
        """Store it detached, unless backward starts from what is stored."""
        if fact.through:
            raise NoFix("backward starts from what is stored")
        return first(Safety.UNSAFE, ("store it detached", lambda: storing.detached(source, fact)))
