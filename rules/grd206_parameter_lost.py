"""A module is given the result of an operation on a new parameter: it gets a plain tensor, and no parameter.

## Why this is wrong

A module registers an attribute if it is an `nn.Parameter`. `nn.Parameter(t) * 0.1` is a tensor that was computed from
one; so is `nn.Parameter(t).to(device)` wherever something has to be copied. The attribute works in every forward, and
yet it is not among `parameters()`: no optimizer sees it, no checkpoint holds it, `module.to(...)` leaves it behind. And
since its graph is made once, the second backward raises.

Where `.to(device)` has nothing to do it returns the parameter itself, so that such code works on the CPU.

## Examples

```python
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(width)) * 0.1  # error

    def forward(self, x):
        return x * self.scale
```

```python
import torch
from torch import nn


class Table(nn.Module):
    def __init__(self, size, device):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(size)).to(device)  # error

    def forward(self, index):
        return self.rows[index]
```

## Use instead

Compute first, and make the parameter of the result:

```python
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(width) * 0.1)

    def forward(self, x):
        return x * self.scale


class Table(nn.Module):
    def __init__(self, size, device):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(size, device=device))

    def forward(self, index):
        return self.rows[index]
```

## Known limits

`.to("cpu")`, `.float()` and `.requires_grad_()` return the parameter itself, mostly or always, and are not reported;
neither is a parameter that asks for no gradient, or one that something else holds:

```python
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, width, device):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width)).requires_grad_(False)
        self.table = nn.Parameter(torch.ones(width), requires_grad=False).to(device)

    def forward(self, x):
        return x * self.scale + self.table
```

## Runtime check

```python
# shows: list(module.parameters()) == []
module = Scale(4)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class ParameterLost(Rule):
    """An attribute that is no parameter any more."""

    code = "GRD206"
    name = "parameter-lost"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` is computed from a new parameter, and is none: the module does not train it"
    help = "compute first, and make the parameter of the result"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report attributes that are computed from a parameter which nothing holds."""
        for lost in facts.lost_parameters:
            yield self.finding(lost.span, ((lost.made, "the parameter is made here"),), name=lost.name)
