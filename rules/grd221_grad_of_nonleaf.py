"""`.grad` of a computed tensor is read, which torch does not keep.

## Why this is wrong

Backward fills `.grad` of leaves only: of parameters, and of tensors made with `requires_grad=True`. The gradient of
what is computed in between is thrown away as soon as it has been passed on. Reading it gives None, with the warning
`The .grad attribute of a Tensor that is not a leaf Tensor is being accessed`, and an `AttributeError` wherever it is
used.

## Examples

```python
import torch


def importance(encoder, head, x):
    hidden = encoder(x)
    head(hidden).sum().backward()
    return hidden.grad  # error
```

## Use instead

Ask torch to keep it, before the backward, or ask for that gradient alone:

```python
import torch


def importance(encoder, head, x):
    hidden = encoder(x)
    hidden.retain_grad()
    head(hidden).sum().backward()
    return hidden.grad


def importance_alone(encoder, head, x):
    hidden = encoder(x)
    (gradient,) = torch.autograd.grad(head(hidden).sum(), hidden)
    return gradient
```

## Known limits

A function that calls `retain_grad()` for anything is left alone. So are values of which it is not known whether they
were computed, and attributes that other methods have set:

```python
import torch


def step(model, x):
    x.requires_grad_()
    model(x).sum().backward()
    return x.grad
```

## Fix safety

The fix calls `retain_grad()` behind the assignment of the tensor. The gradient was None before: it is unsafe only in
that code may rely on it.

## Runtime check

```python
# shows: importance(nn.Linear(4, 4), nn.Linear(4, 1), torch.ones(2, 4)) is None
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import detaching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import NoLeaf
    from gradlint.fix import Source


class GradOfNonleaf(Rule):
    """The gradient of something that is no leaf."""

    code = "GRD221"
    name = "grad-of-nonleaf"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}.grad` stays None: `{name}` is computed, and backward keeps the gradients of leaves only"
    help = "call `{name}.retain_grad()` before the backward, or use `torch.autograd.grad`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report reads of gradients that torch does not keep."""
        for lost in facts.lost_leaves:
            if lost.leaf is None and not lost.optimized:
                yield self.finding(lost.span, lost.because, fact=lost, name=lost.name or "the tensor")

    def fix(self, fact: NoLeaf, source: Source) -> Fix:
        """Keep the gradient."""
        return Fix(Safety.UNSAFE, "keep its gradient", detaching.retained(source, fact))
