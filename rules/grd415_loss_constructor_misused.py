"""A loss class is called with tensors: that makes a module, and computes nothing.

## Why this is wrong

`nn.MSELoss(output, target)` constructs the loss, with the output for `size_average` and the target for `reduce`. What
comes back is a module, so that `.backward()` raises `'MSELoss' object has no attribute 'backward'`. Tensors of many
values do not get that far: as flags they raise `Boolean value of Tensor with more than one value is ambiguous`.

## Examples

```python
from torch import nn


def step(model, x, y):
    loss = nn.MSELoss(model(x), y)  # error
    loss.backward()
```

## Use instead

```python
from torch import nn


def step(model, x, y):
    loss = nn.MSELoss()(model(x), y)
    loss.backward()
```

## Known limits

Losses whose first argument may be a tensor of weights are reported only if what they are given is known to be on the
graph:

```python
from torch import nn


def make(weight, average):
    return nn.CrossEntropyLoss(weight, average)
```

## Fix safety

The fix adds the missing parentheses. The code computed no loss before, so it is safe.

## Runtime check

```python
# raises: RuntimeError "Boolean value of Tensor"
step(nn.Linear(4, 1), torch.ones(3, 4), torch.zeros(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import asking_for
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, OddPass
    from gradlint.fix import Source


class LossConstructorMisused(Rule):
    """A loss is made from what it should be called with."""

    code = "GRD415"
    name = "loss-constructor-misused"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}(...)` makes a module, with its tensors for flags, and computes no loss"
    help = "make the loss, then call it: `{call}()(output, target)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report losses that are made from two values that are no flags."""
        for odd in facts.odd_passes:
            if odd.form == "constructor":
                yield self.finding(odd.span, odd.because, fact=odd, call=odd.call)

    def fix(self, fact: OddPass, source: Source) -> Fix:
        """Make the loss first."""
        return Fix(Safety.SAFE, "call the loss that is made", asking_for.constructed(source, fact))
