"""A leaf is replaced by the result of its own update, whose gradient is read again.

## Why this is wrong

`w = w - lr * w.grad` does not change `w`: it puts another tensor under the name. With gradients on that is the result
of an operation, no leaf, and backward leaves its `.grad` at `None`; under `no_grad` it does not even require grad. The
next `w.grad` is `None`: `TypeError: unsupported operand type(s) for *: 'float' and 'NoneType'`.

The same goes for an input that is perturbed step by step.

## Examples

```python
import torch


def descend(target, lr):
    w = torch.zeros(3, requires_grad=True)
    for _ in range(10):
        (w - target).pow(2).sum().backward()
        w = w - lr * w.grad  # error
    return w
```

```python
import torch


def attack(model, x, criterion, y):
    x.requires_grad_()
    for _ in range(3):
        criterion(model(x), y).backward()
        x = torch.clamp(x + 0.1 * x.grad.sign(), 0, 1)  # error
    return x
```

Nor does an optimizer know what is put in the place of a tensor that it was given:

```python
import torch


def fit(image, target):
    image = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([image])
    for _ in range(10):
        optimizer.zero_grad()
        (image - target).pow(2).sum().backward()
        optimizer.step()
        with torch.no_grad():
            image = image.clamp(0, 1)  # error
    return image
```

## Use instead

Update in place with gradients off, or make a leaf of the result:

```python
import torch


def descend(target, lr):
    w = torch.zeros(3, requires_grad=True)
    for _ in range(10):
        (w - target).pow(2).sum().backward()
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w


def attack(model, x, criterion, y):
    for _ in range(3):
        x = x.detach().requires_grad_()
        criterion(model(x), y).backward()
        x = torch.clamp(x + 0.1 * x.grad.sign(), 0, 1)
    return x


def fit(image, target):
    image = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([image])
    for _ in range(10):
        optimizer.zero_grad()
        (image - target).pow(2).sum().backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image
```

## Known limits

Reported only where the update is computed from `.grad` by torch's own operations and the name is read as `.grad` again
without having been marked in between; of a tensor that an optimizer has, where a loop of its steps reads the new one
again, or where it stands in an attribute of the object that has the optimizer too. One that is marked again is silent,
although the optimizer still has the old one. So are updates by `torch.autograd.grad`, which stay on the graph on
purpose:

```python
import torch


def unrolled(w, steps):
    w = torch.ones(3, requires_grad=True)
    for _ in range(steps):
        (grad,) = torch.autograd.grad(w.pow(2).sum(), w, create_graph=True)
        w = w - 0.1 * grad
    return w
```

## Fix safety

The fix writes `with torch.no_grad(): w -= ...` and clears the gradient behind it. What else holds the old tensor sees
the update as well: it is unsafe and never applied unasked. There is none for anything but `w = w - ...` and
`w = w + ...`. Into a tensor that an optimizer has the new values are copied: `x.copy_(x.clamp(0, 1))`.

## Runtime check

```python
# raises: TypeError "NoneType"
descend(torch.ones(3), 0.1)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import leaves
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import Rebound
    from gradlint.fix import Source

OWNED = "`{name}` is another tensor after this: the optimizer goes on changing the one that it was given"
IN_PLACE = "change it in place inside `torch.no_grad()`: `{name}.clamp_(...)`, `{name}.copy_(...)`"


class LeafRebound(Rule):
    """A leaf replaced by the result of its update."""

    code = "GRD218"
    name = "leaf-rebound"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` is no leaf any more after this update, so that the next `{name}.grad` is None"
    help = "update it in place inside `torch.no_grad()`, or make a new leaf by `.detach().requires_grad_()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report assignments that put the result of an update in the place of the leaf."""
        for fact in facts.rebound:
            yield self.finding(
                fact.span,
                fact.because,
                message=OWNED if fact.optimizer else None,
                help=IN_PLACE if fact.optimizer else None,
                fact=fact,
                name=fact.name,
            )

    def fix(self, fact: Rebound, source: Source) -> Fix:
        """Update the leaf itself."""
        return Fix(Safety.UNSAFE, "update it in place", leaves.updated(source, fact))
