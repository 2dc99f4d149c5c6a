"""What is called a checkpoint runs its function with gradients off, and never again.

## Why this is wrong

Checkpointing runs a function without keeping what it computes, and runs it *again* in backward, with gradients. Code
that only does the first half has thrown the graph away: the modules inside of it get no gradient, nor does anything
before them, while what comes behind is trained. If nothing comes behind, torch raises `element 0 of tensors does not
require grad and does not have a grad_fn`.

## Examples

```python
import torch
from torch import nn


def checkpoint_forward(func, x):
    with torch.no_grad():
        out = func(x.detach())  # error
    return out


def step(block, head, x):
    h = checkpoint_forward(block, x)
    head(h).sum().backward()
    return block.weight.grad
```

## Use instead

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def step(block, head, x):
    h = checkpoint(block, x, use_reentrant=False)
    head(h).sum().backward()
    return block.weight.grad
```

## Known limits

Found by its name, of the function or of the module whose `forward` it is. A custom function runs its `forward` with
gradients off anyway, and goes on in its `backward`; what saves, loads or evaluates a checkpoint is something else:

```python
import torch


def evaluate_checkpoint(model, x):
    with torch.no_grad():
        return model(x.detach())
```

There is no fix: all that calls it would have to be asked whether it wants gradients.

## Runtime check

```python
# shows: step(nn.Linear(4, 4), nn.Linear(4, 1), torch.ones(2, 4)) is None
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class HandmadeCheckpoint(Rule):
    """A checkpoint that is never run again."""

    code = "GRD612"
    name = "handmade-checkpoint"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{name}` runs `{function}` with gradients off and never again: it gets no gradient"
    help = "use `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what would have to run again."""
        for made in facts.handmade:
            because = ((made.at, "called a checkpoint"), (made.span, "the graph is lost here"))
            yield self.finding(made.span, because, name=made.name, function=made.function)
