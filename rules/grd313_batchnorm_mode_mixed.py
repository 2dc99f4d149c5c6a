"""Batch normalisation runs in train mode while the graph of a call in eval mode is still needed.

## Why this is wrong

In eval mode batch normalisation divides by its running statistics, and the graph keeps them for backward. A call in
train mode changes them, and torch does not count that as an edit. Backward through the first call then divides by
statistics that it was not computed with: no error, and a wrong gradient. It makes no difference whether the second
call runs with gradients off.

## Examples

```python
import torch
from torch import nn


def gradient(x, y):
    norm = nn.BatchNorm1d(2)
    norm.eval()
    out = norm(x)
    norm.train()
    norm(y)  # error
    out.sum().backward()
    return x.grad
```

## Use instead

Go backward before the mode changes:

```python
import torch
from torch import nn


def gradient(x, y):
    norm = nn.BatchNorm1d(2)
    norm.eval()
    norm(x).sum().backward()
    norm.train()
    norm(y)
    return x.grad
```

## Known limits

Both calls and the backward stand in one function, and it must be in sight that the module has batch normalisation in
it. Two calls in train mode, and a call in eval mode behind one in train mode, are legal:

```python
import torch
from torch import nn


def gradient(x, y):
    norm = nn.BatchNorm1d(2)
    norm.train()
    out = norm(x) + norm(y)
    norm.eval()
    (out + norm(x)).sum().backward()
    return x.grad
```

There is no fix: which of the calls is in the wrong mode, or in the wrong place, is not known.

## Runtime check

```python
# shows: bool((gradient((x := torch.ones(3, 2, requires_grad=True)), torch.randn(3, 2) + 9) - 1).abs().max() > 1e-3)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class BatchnormModeMixed(Rule):
    """A call in train mode between a call in eval mode and its backward."""

    code = "GRD313"
    name = "batchnorm-mode-mixed"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{module}` changes its running statistics here, which the graph of its call in eval mode still needs"
    help = "go backward before the call in train mode"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls in train mode before the backward of one in eval mode."""
        for mixed in facts.mixed_modes:
            because = (
                (mixed.kept, "called in eval mode here"),
                (mixed.span, "called in train mode here"),
                (mixed.backward, "backward through the first call here"),
            )
            yield self.finding(mixed.span, because, module=mixed.module or "the module")
