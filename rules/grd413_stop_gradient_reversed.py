"""A straight-through estimate is detached on the wrong side.

## Why this is wrong

`x + (quantised - x).detach()` has the value of `quantised` and the gradient of `x`. With the `detach()` in another
place the value may be the same, and the gradient is not: that of `x.detach() + (x.round() - x)` is *minus* one, since
only `-x` is left of it, and that of `quantised + (x - quantised).detach()` goes to the codebook alone, with the value
that was there before the quantisation.

## Examples

```python
import torch


def rounded(x):
    return x.detach() + (x.round() - x)  # error
```

```python
import torch


def hard_sample(logits):
    soft = torch.softmax(logits, dim=-1)
    hard = torch.nn.functional.one_hot(soft.argmax(dim=-1), soft.shape[-1])
    return hard - soft + soft.detach()  # error
```

## Use instead

```python
import torch


def rounded(x):
    return x + (x.round() - x).detach()
```

```python
import torch


def hard_sample(logits):
    soft = torch.softmax(logits, dim=-1)
    hard = torch.nn.functional.one_hot(soft.argmax(dim=-1), soft.shape[-1])
    return hard - soft.detach() + soft
```

## Known limits

The sum must be one expression, of a value, the same value detached, and what was rounded, looked up or picked from it.
What was quantised elsewhere is known by its name only.

```python
import torch


def codes(z, quantised):
    return z + (quantised - z).detach()


def likelihood_ratio(log_prob, advantage):
    return torch.exp(log_prob - log_prob.detach()) * advantage
```

There is no fix: three places of one expression have to change, and which value is meant is a guess.

## Runtime check

```python
# shows: (x.grad == -1).all()
x = torch.randn(4, requires_grad=True)
rounded(x).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

CONSEQUENCES = {
    "negated": "the gradient of `{name}` is negated: it is detached where it is added, and not where it is taken off",
    "swapped": "the gradient goes to `{name}` alone, and the value is what it was before it was quantised",
}


class StopGradientReversed(Rule):
    """Straight-through estimates the wrong way round."""

    code = "GRD413"
    name = "stop-gradient-reversed"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "the gradient of `{name}` is stopped on the wrong side"
    help = "write `x + (quantised - x).detach()`: the value of `quantised`, and the gradient of `x`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report sums whose gradient is that of the wrong term."""
        for stop in facts.reversed_stops:
            yield self.finding(stop.span, message=CONSEQUENCES[stop.form], name=stop.name)
