"""A transform of `torch.func` differentiates a function that turns gradients off.

## Why this is wrong

`torch.func.grad`, `vjp` and `jacrev` record the function that they are given. A `no_grad` *inside* of it is honoured:
the result has no history, and its derivative is zero, without an error. (A `no_grad` around the transform is harmless.)
Forward mode (`jvp`, `jacfwd`) ignores `no_grad`, so that the two modes disagree.

## Examples

```python
import torch


@torch.no_grad()
def energy(x):
    return (x**2).sum()


def force(x):
    return torch.func.grad(energy)(x)  # error
```

## Use instead

```python
import torch


def energy(x):
    return (x**2).sum()


def force(x):
    return torch.func.grad(energy)(x)
```

## Known limits

Reported is a function all of whose result is computed with gradients off; for `jvp` and `jacfwd`, one that computes any
part of its result from an argument like that. Otherwise a part may be a constant on purpose:

```python
import torch


def centred(x):
    with torch.no_grad():
        centre = x.mean()
    return ((x - centre) ** 2).sum()


def slope(x):
    return torch.func.grad(centred)(x)
```

## Runtime check

```python
# shows: force(torch.ones(2)).abs().sum() == 0
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


IGNORED = "`{call}` differentiates `{function}` in forward mode, which ignores the `no_grad` in it"
DETACH = "`detach()` what is meant as a constant: both modes keep to that"


class GradTransformOverNoGrad(Rule):
    """`torch.func.grad` of a function under `no_grad`."""

    code = "GRD116"
    name = "grad-transform-over-no-grad"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` differentiates `{function}`, which turns gradients off: the derivative is zero"
    help = "turn gradients off around the transform, not inside of the function"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report transforms of functions without a graph."""
        for fact in facts.flat_transforms:
            message, advice = (IGNORED, DETACH) if fact.ignored else (None, None)
            yield self.finding(
                fact.span, fact.because, call=fact.call, function=fact.function, message=message, help=advice
            )
