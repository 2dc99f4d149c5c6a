"""A tensor is edited in place, and a second name of it is read as if it had the old value.

## Why this is wrong

`identity = x` gives a tensor a second name and copies nothing. When `x` is then edited in place, by `+=`, by a method
with a trailing underscore or by a layer with `inplace=True`, `identity` has the new value too. A skip connection adds
the activation instead of the input, a loss that is logged by parts shows the sum in every part. Autograd follows the
edit, so gradients are those of the computation that was not meant, and no error tells.

## Examples

```python
import torch
import torch.nn.functional as F


def step(model, x, y, penalty):
    data_loss = F.mse_loss(model(x), y)
    loss = data_loss
    loss += penalty(model)  # error
    loss.backward()
    return loss.item(), data_loss.item()
```

```python
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(dim, dim)

    def forward(self, x):
        identity = x
        out = self.act(x)  # error
        return self.fc(out) + identity
```

## Use instead

```python
import torch
import torch.nn.functional as F


def step(model, x, y, penalty):
    data_loss = F.mse_loss(model(x), y)
    loss = data_loss + penalty(model)
    loss.backward()
    return loss.item(), data_loss.item()
```

and `nn.ReLU()`, without `inplace=True`, in the block.

## Known limits

Both names are variables of one function, and one was bound to the other by a plain assignment; or an activation with
`inplace=True`, or a function of the file, returned what it has edited under a new name. Views are left out, for they
are made in order to be edited. Where an operation had saved the tensor, backward raises, which another rule reports.
What the same variable shows afterwards was meant to be seen:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc = nn.Linear(dim, dim)

    def forward(self, x):
        identity = x
        out = self.fc(x)
        out += identity
        out = F.relu(out, inplace=True)
        return out
```

## Fix safety

The fix writes the edit out of place, so that the second name keeps the old value. That changes what the program
computes, which is the point: it is unsafe and never applied unasked. For layers that were made with `inplace=True`
there is no fix.

## Runtime check

```python
# shows: len(set(step(nn.Linear(4, 1), torch.ones(2, 4), torch.ones(2, 1), lambda model: 1.0))) == 1
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, SharedEdit
    from gradlint.fix import Source


class InplaceAliasReuse(Rule):
    """In-place edit of a tensor whose other name is read afterwards."""

    code = "GRD304"
    name = "inplace-alias-reuse"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` in place, and `{other}`, which is read afterwards, is the same tensor"
    help = "compute a new tensor, or keep a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits in place that the reader of another name of the tensor does not expect."""
        for shared in facts.shared_edits:
            if shared.form == "detached":
                continue
            edit = shared.edit
            target = edit.target.name or "the tensor"
            message = None
            if shared.form == "result":
                message = "`{op}` edits `{target}` in place, and `{other}` is read afterwards beside the result"
            yield self.finding(
                shared.span,
                shared.because(),
                fact=shared,
                message=message,
                op=edit.op,
                target=target,
                other=shared.other,
            )

    def fix(self, fact: SharedEdit, source: Source) -> Fix:
        """Compute a new tensor under the same name."""
        return Fix(Safety.UNSAFE, "write it out of place", inplace.for_each_name(source, fact.edit))
