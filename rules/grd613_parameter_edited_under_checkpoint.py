"""Parameters of a checkpointed block change between its forward and its backward.

## Why this is wrong

A checkpoint runs its function again in backward, with the parameters that it finds *then*. If an optimizer has stepped
in between, or somebody has edited a weight with gradients off, the gradient is that of another function than the one
whose loss was computed. Without a checkpoint torch mostly notices, because a saved tensor has changed; here nothing of
the block was saved, and nobody tells.

## Examples

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def gradient(x):
    block = nn.Linear(1, 1, bias=False)
    nn.init.ones_(block.weight)
    y = checkpoint(lambda t: block(t) ** 2, x, use_reentrant=False)
    with torch.no_grad():
        block.weight.mul_(10)  # error
    y.sum().backward()
    return x.grad
```

## Use instead

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def gradient(x):
    block = nn.Linear(1, 1, bias=False)
    nn.init.ones_(block.weight)
    y = checkpoint(lambda t: block(t) ** 2, x, use_reentrant=False)
    y.sum().backward()
    with torch.no_grad():
        block.weight.mul_(10)
    return x.grad
```

## Known limits

The checkpoint, the change and the backward must stand in one function. Parameters that are handed to `checkpoint` as
arguments are watched by torch, which raises; and a change of another module does no harm:

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def gradient(x):
    block, other = nn.Linear(1, 1), nn.Linear(1, 1)
    y = checkpoint(block, x, use_reentrant=False)
    with torch.no_grad():
        other.weight.mul_(10)
    y.sum().backward()
    return x.grad
```

## Runtime check

```python
# shows: gradient(torch.ones(1, 1, requires_grad=True)).item() != 2
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class ParameterEditedUnderCheckpoint(Rule):
    """Changes of what a checkpoint is going to run again."""

    code = "GRD613"
    name = "parameter-edited-under-checkpoint"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` changes parameters of `{function}`, whose checkpoint runs it again in the backward behind"
    help = "go backward first"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report changes between a checkpoint and its backward."""
        for edited in facts.edited_checkpoints:
            because = (
                (edited.at, "runs here"),
                (edited.span, "changed here"),
                (edited.used, "runs again here, as it is by then"),
            )
            yield self.finding(edited.span, because, name=edited.name, function=edited.function or "a function")
