"""A tensor is asked for its gradient after the forward that should have tracked it.

## Why this is wrong

What requires grad is looked at while an operation runs. Made a leaf afterwards, the tensor is no part of the graph that
was recorded before: backward goes by, raises nothing, and its `.grad` stays None.

## Examples

```python
import torch


def saliency(model, x):
    out = model(x).sum()
    x.requires_grad_()  # error
    out.backward()
    return x.grad
```

## Use instead

```python
import torch


def saliency(model, x):
    x.requires_grad_()
    out = model(x).sum()
    out.backward()
    return x.grad
```

## Known limits

Only variables whose `.grad` is read in the same function are reported, outside of loops, where the tensor is not used
again after it was made a leaf:

```python
import torch


def twice(model, x):
    first = model(x).sum()
    x.requires_grad_()
    (first + model(x).sum()).backward()
    return x.grad
```

There is no fix: the statement would have to move over code that may have other effects.

## Runtime check

```python
# shows: saliency(nn.Linear(4, 1), torch.ones(3, 4)) is None
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class RequiresGradTooLate(Rule):
    """Leaves that are made after the forward that should track them."""

    code = "GRD414"
    name = "requires-grad-too-late"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` is made a leaf after the forward that should have tracked it"
    help = "call `{call}.requires_grad_()` before the forward"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report leaves that are made too late."""
        for odd in facts.odd_passes:
            if odd.form == "late":
                yield self.finding(odd.span, odd.because, call=odd.call)
