"""What looks like a constant, a window or a filter, is registered as a trainable parameter.

## Why this is wrong

`nn.Parameter` requires grad unless it is told otherwise, and every optimizer over `model.parameters()` takes it: the
window or the filter is trained away from what it is, weight decay shrinks it, and its gradient and the optimizer's
state take memory. A buffer moves with the module and is saved with it as well, and nothing trains it.

## Examples

```python
import torch
from torch import nn


class Frames(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.window = nn.Parameter(torch.hann_window(size))  # error

    def forward(self, x):
        return x * self.window
```

## Use instead

```python
import torch
from torch import nn


class Frames(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.register_buffer("window", torch.hann_window(size))

    def forward(self, x):
        return x * self.window
```

## Known limits

Reported are windows, and tables under a name of what is fixed beforehand. They may be meant as the point that training
starts from, which nothing in the code tells: the finding is only possible, and hidden by default. What has a name of
something learnt is left alone, and so is a constructor that freezes anything:

```python
import torch
from torch import nn


class Centers(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.linspace(0.0, 1.0, 8))
```

## Fix safety

The fix adds `requires_grad=False`: the name in the state dict stays the same. The values are no longer trained, so it
is unsafe.

## Runtime check

```python
# shows: any(p.requires_grad for p in frames.parameters())
frames = Frames(4)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import freezing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.freezing import ConstantParameter as Fact
    from gradlint.fix import Source


class ConstantParameter(Rule):
    """A constant among the parameters."""

    code = "GRD230"
    name = "constant-parameter"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.POSSIBLE
    message = "`{name}` is made of a constant, by `{made}`, and will be trained"
    help = 'register it as a buffer: `self.register_buffer("{name}", ...)`, or add `requires_grad=False`'

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report trainable parameters that look like constants."""
        for fact in facts.constant_parameters:
            yield self.finding(fact.span, fact.because, fact=fact, name=fact.name, made=fact.made)

    def fix(self, fact: Fact, source: Source) -> Fix:
        """Make it one that is not trained."""
        return Fix(Safety.UNSAFE, "add `requires_grad=False`", freezing.untrained(source, fact))
