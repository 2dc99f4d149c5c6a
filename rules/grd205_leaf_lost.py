"""A leaf is changed as soon as it is made, so that no variable holds the leaf any more.

## Why this is wrong

`torch.randn(4, requires_grad=True)` is a leaf: backward fills its `.grad`, an optimizer can change it. The result of
`torch.randn(4, requires_grad=True) * 0.1` is computed. Its `.grad` stays None, and an optimizer refuses it:
`ValueError: can't optimize a non-leaf Tensor`.

`.to(device)`, `.cuda()` and `.double()` are operations too. Where nothing has to be copied they return the leaf itself,
which is why such code works on a machine without a GPU and fails on the one with it.

## Examples

```python
import torch


def fit(x, y):
    w = torch.randn(4, requires_grad=True) * 0.1
    optimizer = torch.optim.SGD([w], lr=0.1)  # error
    (x @ w - y).pow(2).mean().backward()
    optimizer.step()
```

```python
import torch


def sensitivity(x, device):
    scale = torch.ones(4, requires_grad=True).to(device)
    (x.to(device) * scale).sum().backward()
    return scale.grad.abs()  # error
```

```python
import torch


def corners(size, requires_grad=False):
    both = torch.zeros(2, size, requires_grad=requires_grad)
    return both[0], both[1]  # error
```

## Use instead

Ask for gradients last, or make the leaf where it should be:

```python
import torch


def fit(x, y):
    w = (torch.randn(4) * 0.1).requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.1)
    (x @ w - y).pow(2).mean().backward()
    optimizer.step()


def sensitivity(x, device):
    scale = torch.ones(4, device=device, requires_grad=True)
    (x.to(device) * scale).sum().backward()
    return scale.grad.abs()


def corners(size, requires_grad=False):
    both = torch.zeros(2, size)
    return both[0].requires_grad_(requires_grad), both[1].requires_grad_(requires_grad)
```

## Known limits

A leaf that another variable still holds is not lost. `.to("cpu")`, `.float()` and `.contiguous()` mostly return the
leaf itself and are not reported:

```python
import torch


def fit(x):
    w = torch.randn(4, requires_grad=True).float()
    scaled = w * 0.1
    (x @ scaled).sum().backward()
    return w.grad
```

## Runtime check

```python
# raises: ValueError "can't optimize a non-leaf Tensor"
fit(torch.ones(3, 4), torch.ones(3))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

PROMISED = "`{name}` returns what it computes from the leaf that `requires_grad` asks for: its `.grad` stays None"
OPTIMIZED = "an optimizer is given `{name}`, which is no leaf: it is computed from one that nothing holds"


class LeafLost(Rule):
    """A leaf that only an expression held."""

    code = "GRD205"
    name = "leaf-lost"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}.grad` stays None: `{name}` is computed from a leaf that nothing holds"
    help = "call `.requires_grad_()` last, on the finished tensor"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report tensors that are used as the leaf they were computed from."""
        for lost in facts.lost_leaves:
            if lost.leaf is not None:
                message = PROMISED if lost.promised else OPTIMIZED if lost.optimized else None
                yield self.finding(lost.span, lost.because, message=message, name=lost.name or "the tensor")
