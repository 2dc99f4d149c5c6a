"""The loss is computed only from what was detached, so that backward has no way to the parameters.

## Why this is wrong

`.detach()` makes a value a constant. That is right for a target, for a state that is carried to the next sequence, for
one side of a stop-gradient. If everything that the loss is computed from is detached, nothing is left to train:
`backward()` raises `element 0 of tensors does not require grad and does not have a grad_fn`. If only one module stands
behind the detach, nothing is said: the rest is trained, and that module keeps its first weights.

## Examples

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    pred = model(x).detach()  # error
    F.mse_loss(pred, y).backward()
```

Of two views of one model, one side only may be a constant:

```python
import torch
import torch.nn.functional as F


def step(model, x, other):
    a = model(x).detach()  # error
    b = model(other).detach()  # error
    loss = -F.cosine_similarity(a, b).mean()
    loss.backward()
```

An optimizer is given what no gradient ever reaches:

```python
import torch
import torch.nn.functional as F


def train(encoder, head, loader):
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()])
    for x, y in loader:
        features = encoder(x).detach()  # error
        optimizer.zero_grad()
        F.mse_loss(head(features), y).backward()
        optimizer.step()
```

## Use instead

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    pred = model(x)
    F.mse_loss(pred, y).backward()
    return pred.detach()
```

## Known limits

Reported is a loss of which nothing is left on the graph. One detached term beside others, a straight-through
estimator, a head on detached features and a discriminator's loss may be meant: a detach in front of a module is
reported if an optimizer made in the same function steps what stands behind it, or if the gradient there is looked at,
and nothing else in the function leads to it.

```python
import torch
import torch.nn.functional as F


def step(backbone, head, x, y):
    features = backbone(x).detach()
    F.mse_loss(head(features), y).backward()
```

A leaf that is made of the detached value belongs to another rule, if it is a mistake at all.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
step(nn.Linear(4, 1), torch.ones(2, 4), torch.zeros(2, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


STARVED = "`{name}` is meant to be trained, and its result reaches the loss only detached: it gets no gradient"


class DetachInTrainablePath(Rule):
    """A loss of detached values."""

    code = "GRD212"
    name = "detach-in-trainable-path"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` is detached, and all of the loss is computed from it: backward raises"
    help = "leave the detach out, or detach only what should be a constant"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report detached values that leave nothing of the loss on the graph."""
        for cut in facts.lost_graphs:
            if cut.kind == "detach" and cut.starved:
                yield self.finding(cut.span, cut.because, message=STARVED, name=cut.starved)
            elif cut.kind == "detach" and cut.whole:
                yield self.finding(cut.span, cut.because, name=cut.name or "the value")
