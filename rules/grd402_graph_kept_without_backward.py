"""Outputs or losses that nobody backwards are stored across iterations, each with its whole graph.

## Why this is wrong

A tracked tensor holds its graph, and the graph holds every activation that backward would need. Storing the outputs or
losses of a loop, in a list, a dict, a running sum, an attribute, keeps the graphs of *all* iterations alive. Memory
grows with every batch until the process dies. Backward would free the activations, but here nobody calls it.

`.cpu()` and `.clone()` do not help: both are recorded, and the copy holds the graph of the original.

## Examples

```python
import torch


class Monitor:
    def __init__(self, model, criterion):
        self.model = model
        self.criterion = criterion
        self.losses = []

    def watch(self, loader):
        for x, y in loader:
            self.losses.append(self.criterion(self.model(x), y))  # error

    def mean(self):
        return sum(loss.item() for loss in self.losses) / len(self.losses)
```

```python
import torch


def epoch_loss(model, loader, criterion):
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y)  # error
    return total.item() / len(loader)
```

```python
import torch


def classes(model, loader):
    outputs = {}
    for i, (x, _) in enumerate(loader):
        outputs[i] = model(x).cpu()  # error
    return [out.argmax(dim=1).tolist() for out in outputs.values()]
```

## Use instead

Store numbers, or detached tensors:

```python
import torch


class Monitor:
    def __init__(self, model, criterion):
        self.model = model
        self.criterion = criterion
        self.losses = []

    def watch(self, loader):
        for x, y in loader:
            self.losses.append(self.criterion(self.model(x), y).detach())

    def mean(self):
        return sum(loss.item() for loss in self.losses) / len(self.losses)
```

Better still, build no graph:

```python
import torch


@torch.no_grad()
def epoch_loss(model, loader, criterion):
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y)
    return total.item() / len(loader)
```

## Known limits

What is backwarded later is stored rightly, and so is what is returned, tracked, to a caller that may do so; the latter
is reported only where the function is clearly evaluation, or where the loop trains the same weights: after the step
nobody can go backward. A name that is overwritten holds one graph and is silent.

```python
import torch


def total_step(model, loader, criterion, optimizer):
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()


def pyramid(stages, x):
    features = []
    for stage in stages:
        x = stage(x)
        features.append(x)
    return features
```

Values stored *after* their backward keep less, and belong to another rule. What a framework collects, as Lightning does
with the results of `predict_step`, is reported where the method itself turns gradients on. What a forward hook gathers
is reported where the class gets its gradients from a backward hook, unless another branch stores it detached. What a
trainer returns and what is called a text is taken to be none on the graph. What a constructor computes with a model is
reported where another method of the class reads it.

## Fix safety

The fix stores `.detach()`, or puts the forward under `torch.no_grad()` where the stored value may be no tensor. Where
someone differentiates the stored values later, in code that is not in sight, their gradients would be gone: it is
unsafe and never applied unasked. There is none for what a framework collects: its graph was asked for.

## Runtime check

```python
# shows: all(loss.grad_fn is not None for loss in monitor.losses)
monitor = Monitor(nn.Linear(2, 1), nn.MSELoss())
monitor.watch([(torch.ones(3, 2), torch.zeros(3, 1))] * 3)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, first, modes, storing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, KeptGraph
    from gradlint.fix import Source


UNTIL_NEXT = "`{store}` keeps the graph of `{target}` until the next pass, and nobody backwards it"
FOR_LIFE = "`{store}` keeps the graph of `{target}` as long as the object lives; a second backward through it fails"


class GraphKeptWithoutBackward(Rule):
    """Tracked results of a forward nobody backwards, stored across iterations."""

    code = "GRD402"
    name = "graph-kept-without-backward"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{store}` keeps the graph of `{target}` of every iteration, and nobody backwards it"
    help = "store `{target}.detach()` or a number, or run the loop inside `torch.no_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report stores, across iterations, of tracked values that no backward reaches."""
        for kept in facts.kept_graphs:
            message = UNTIL_NEXT if kept.hook else FOR_LIFE if kept.constructor else None
            advice = "store or return `{target}` detached" if message or kept.collected else None
            yield self.finding(
                kept.span, kept.because, fact=kept, message=message, help=advice, store=kept.store, target=kept.target
            )

    def fix(self, fact: KeptGraph, source: Source) -> Fix:
        """Store it detached; what may be no tensor, or is computed from itself, is rather made with gradients off."""
        if fact.collected:
            raise NoFix("the graph was asked for")
        if fact.hook:
            return Fix(Safety.UNSAFE, "store it detached", storing.detached(source, fact))
        detached = ("store it detached", lambda: storing.detached(source, fact))
        guarded = ("run the forward with gradients off", lambda: modes.guarded(source, fact.because[0][0]))
        ways = [guarded, detached] if storing.grows_by_assignment(source, fact) else [detached, guarded]
        return first(Safety.UNSAFE, *ways)
