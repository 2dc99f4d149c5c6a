"""Gradients are off around a module that is meant to be trained.

## Why this is wrong

What runs under `no_grad` records nothing. The parameters of a layer in there get no gradient, and nothing that was
computed before it gets one through it. The layers behind go on learning, so the loss falls, and nothing raises: the
optimizer skips parameters whose `grad` is None. Freezing with `requires_grad_(False)` is something else, for it keeps
the gradient of what stands in front.

## Examples

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.middle = nn.Linear(2, 2)
        self.last = nn.Linear(2, 1)

    def forward(self, x):
        x = self.first(x)
        with torch.no_grad():
            x = self.middle(x)  # error
        return self.last(x)
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.middle = nn.Linear(2, 2)
        self.last = nn.Linear(2, 1)

    def forward(self, x):
        x = self.first(x)
        x = self.middle(x)
        return self.last(x)
```

## Known limits

Reported is a layer of torch that the class itself makes, beside others that are trained, and a module whose parameters
an optimizer in sight is given. A frozen backbone is right, whether its parameters are frozen or not:

```python
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        with torch.no_grad():
            x = self.backbone(x)
        return self.head(x)
```

A module that is frozen anywhere in the file, that runs with gradients on elsewhere, or whose name says that it is fixed
(`target`, `teacher`, `random`) is left alone, and so is a class that loads weights.

A decorated function is reported if all that a loss of the same file returns goes through it. What is called a loss is
told by its name.

## Fix safety

The fix turns the region around the forward into one with gradients. Training changes: it is unsafe and never applied
unasked.

## Runtime check

```python
# shows: net.middle.weight.grad is None
net = Net()
net(torch.ones(3, 2)).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.facts.modes import FlatLoss
from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import Untrained
    from gradlint.fix import Source


class NoGradOverTrainable(Rule):
    """A layer that should learn runs with gradients off."""

    code = "GRD112"
    name = "no-grad-over-trainable"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{module}` runs with gradients off and never learns: {why}"
    help = "run it with gradients on, or freeze it with `requires_grad_(False)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report forwards that keep a module from being trained."""
        for fact in facts.untrained:
            yield self.finding(fact.span, fact.because, fact=fact, module=fact.module, why=fact.why)
        for flat in facts.flat_losses:
            yield self.finding(
                flat.span,
                flat.because,
                fact=flat,
                message="`{function}` turns gradients off, and all of `{loss}` goes through it: it trains nothing",
                help="take the decorator off; turn gradients off for the target only",
                function=flat.function,
                loss=flat.loss,
            )

    def fix(self, fact: Untrained | FlatLoss, source: Source) -> Fix | None:
        """Run the module with gradients on; for a whole loss somebody has to decide what is the target."""
        if isinstance(fact, FlatLoss):
            return None
        return Fix(
            Safety.UNSAFE, f"run `{fact.module}` with gradients on", modes.with_gradients(source, fact.span, fact.since)
        )
