"""Gradients are asked of a tensor of integers or bools.

## Why this is wrong

A gradient is a limit of small changes, and integers have none. torch raises at once:
`RuntimeError: Only Tensors of floating point and complex dtype can require gradients`. The dtype is easy to miss:
`torch.tensor([1, 2])` and `torch.arange(3)` are `int64`, `torch.tensor([1.0, 2.0])` and `torch.arange(3.0)` are not.

## Examples

```python
import torch


def start():
    x = torch.tensor([1, 2, 3], requires_grad=True)  # error
    w = torch.arange(3, requires_grad=True)  # error
    return (w * x).sum()
```

```python
import torch
from torch import nn


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        offsets = torch.zeros(8, dtype=torch.long)
        offsets.requires_grad_()  # error
        self.offsets = offsets
```

## Use instead

```python
import torch


def start():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    w = torch.arange(3.0, requires_grad=True)
    return (w * x).sum()
```

A table of indices is a buffer, or a parameter that asks for no gradient:

```python
import torch
from torch import nn


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("offsets", torch.zeros(8, dtype=torch.long))
        self.index = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
```

## Known limits

Reported are tensors that are of integers for certain: by their dtype, by the numbers in the source, or by a cast.
Numbers that come from elsewhere, `torch.set_default_dtype`, and `.to(dtype)` are not followed:

```python
import torch


def start(values, like):
    return torch.tensor(values, requires_grad=True), torch.zeros(3, dtype=like.dtype, requires_grad=True)
```

## Runtime check

```python
# raises: RuntimeError "floating point"
start()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class RequiresGradDtype(Rule):
    """``requires_grad`` on integers."""

    code = "GRD203"
    name = "requires-grad-dtype"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{how}` asks for gradients of integers, which torch refuses"
    help = "make it of floating point numbers, or ask for no gradient"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report tensors of integers that should require grad."""
        for leaf in facts.integer_leaves:
            because = ((leaf.made, "made of integers here"),) if leaf.made is not None else ()
            yield self.finding(leaf.span, because, how=leaf.how)
