"""`.data` is read on the way to the loss, so that no gradient comes back through it.

## Why this is wrong

`t.data` is a new tensor on the memory of `t`, without its graph: a leftover from the time of `Variable`, where one
wrote it to get at the numbers. In a loss it acts as `.detach()` does, only that nothing says so. If all of the loss is
computed from it, backward raises `element 0 of tensors does not require grad and does not have a grad_fn`. If a part
is, that part has no gradient, and nothing raises.

Writing to `.data` between two iterations is something else, and legal.

## Examples

```python
import torch


def step(model, x, y, criterion):
    loss = criterion(model(x), y) + 0.01 * model.weight.data.norm()  # error
    loss.backward()
```

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    scores = model(x).data  # error
    F.mse_loss(scores, y).backward()
```

Where no backward pass is in sight, it is a copy in the place of the tensor itself that tells:

```python
import torch
from torch import nn


class Walk(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(4, 4)

    def forward(self, x, lengths):
        hidden = x.new_zeros(x.size(0), 4)
        for step in range(x.size(1)):
            active = int((lengths > step).sum())
            new = torch.tanh(self.cell(hidden[:active] + x[:active, step]))
            hidden = hidden.data.clone()  # error
            hidden[:active] = new
        return hidden
```

## Use instead

```python
import torch


def step(model, x, y, criterion):
    loss = criterion(model(x), y) + 0.01 * model.weight.norm()
    loss.backward()
```

Where a value is meant to be a constant, say so with `.detach()`:

```python
import torch
import torch.nn.functional as F


def step(model, teacher, x):
    F.mse_loss(model(x), teacher(x).detach()).backward()
```

## Known limits

`.data` of a target, of an input, as a mask or a scale is a constant on purpose; so is the difference of a
straight-through estimator. What a `forward` returns is not followed to the backward of a caller: there, only a copy
that is written in part and carried to the next step is found, and one that fills a new tensor which is returned.

```python
import torch


def step(model, x, y):
    out = model(x)
    keep = (out.data.abs() < 3).float()
    (keep * (out - y) ** 2).mean().backward()
    model.bias.data.clamp_(-1, 1)
```

## Fix safety

The fix leaves `.data` out. The gradient goes through from then on, which changes training: it is unsafe. There is none
for a copy into a new tensor.

## Runtime check

```python
# shows: model.weight.grad.norm() < 1e-6
model = nn.Linear(4, 1)
step(model, torch.zeros(2, 4), torch.zeros(2, 1), nn.MSELoss())
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
    from gradlint.facts.leaves import LostGraph
    from gradlint.fix import Source

COPIED = "`{name}.data` is copied in the place of `{name}`: no gradient comes back through the copy"


class DataBreaksGraph(Rule):
    """``.data`` between a value and the loss."""

    code = "GRD211"
    name = "data-breaks-graph"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`.data` takes `{name}` off the graph on the way to the loss: {effect}"
    help = "leave `.data` out, or write `.detach()` if it is meant to be a constant"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report reads of ``.data`` that the loss is computed from, and copies that take the place of a tensor."""
        for cut in facts.lost_graphs:
            if cut.kind == "data":
                effect = "backward raises" if cut.whole else "it adds nothing to any gradient"
                effect = f"`{cut.starved}` gets no gradient" if cut.starved else effect
                yield self.finding(cut.span, cut.because, fact=cut, name=cut.name or "the value", effect=effect)
        for cut in facts.copied_data:
            if all(one.span != cut.span for one in facts.lost_graphs):
                yield self.finding(cut.span, cut.because, message=COPIED, fact=cut, name=cut.name)

    def fix(self, fact: LostGraph, source: Source) -> Fix:
        """Leave the value on the graph."""
        return Fix(Safety.UNSAFE, "leave out `.data`", detaching.kept(source, fact))
