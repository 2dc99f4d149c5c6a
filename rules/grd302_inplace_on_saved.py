"""A tensor is edited in place after an operation saved it for its backward.

## Why this is wrong

Many operations keep a tensor for backward: `exp`, `sigmoid`, `tanh`, `relu`, `softmax` and `sqrt` keep their output;
`sin`, `log`, `pow`, `gelu` and layer norm keep their input; a product keeps each factor whose partner needs a
gradient. torch counts edits, and when backward finds that a saved tensor was changed, it raises
`RuntimeError: one of the variables needed for gradient computation has been modified by an inplace operation`. The
error comes from `backward()`, far from the line that is wrong.

Which operations save what is read off torch itself. Edits of tensors that nobody saved, such as the sum in
`out += identity` behind a convolution or batch norm, are legal and not reported.

## Examples

Masking behind the softmax, which saved its output:

```python
import torch


def attention_loss(encoder, x, mask, v):
    weights = encoder(x).softmax(dim=-1)
    weights.masked_fill_(mask, 0.0)  # error
    loss = (weights @ v).sum()
    loss.backward()
```

The residual sum behind the activation:

```python
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc = nn.Linear(dim, dim)

    def forward(self, x):
        out = F.relu(self.fc(x))
        out += x  # error
        return out
```

Normalising in place: the quotient saved the old value of `h`:

```python
import torch


def normalise(encoder, x):
    h = encoder(x)
    h /= h.norm()  # error
    h.sum().backward()
```

A weight update between forward and backward, and a batch that is reused too early:

```python
import torch


def step(w, x):
    loss = (x * w * w).sum()
    with torch.no_grad():
        w -= 0.1  # error
    x.zero_()  # error
    loss.backward()
```

## Use instead

```python
import torch


def attention_loss(encoder, x, mask, v):
    weights = encoder(x).masked_fill(mask, float("-inf")).softmax(dim=-1)
    loss = (weights @ v).sum()
    loss.backward()
```

Out of place, `out = out + x`, is always right; so is the order in which the edited tensor is one that nobody saved:

```python
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc = nn.Linear(dim, dim)

    def forward(self, x):
        out = self.fc(x)
        out += x
        return F.relu(out)
```

## Known limits

The edit must be known to hit the saved tensor, and a backward must be able to reach the operation: after `backward()`,
under `torch.no_grad()`, and on values that are only printed, edits are free. These legal forms look alike and are
silent:

```python
import torch


def legal(w):
    h = w * 1
    h /= h.sum()
    h -= h.mean()
    h *= torch.sigmoid(h)
    h += torch.tanh(h)
    h.exp_()
    h.sum().backward()
```

Where a constructor puts one of several methods in the place of `forward`, none of them is reported unless a backward
follows in it: the others may be there to train.

Edits through `.data`, numpy or a storage are not counted by torch either: no error, wrong gradients. Another rule
reports them.

## Fix safety

The fix writes the edit out of place, or edits a clone. Values stay the same, memory use grows, and another name for the
same tensor no longer sees the change: it is unsafe and never applied unasked. Where others certainly have to see the
edit (a parameter, a view, an argument, a part of an item of a list) there is no fix.

## Runtime check

```python
# raises: RuntimeError "modified by an inplace operation"
mask = torch.tensor([[False, True], [False, False]])
attention_loss(nn.Linear(4, 2), torch.randn(2, 4), mask, torch.randn(2, 3))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Edit, Facts
    from gradlint.fix import Source


class InplaceOnSaved(Rule):
    """In-place edit of a tensor that a recorded operation saved, before its backward."""

    code = "GRD302"
    name = "inplace-on-saved"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{op}` edits `{target}` in place, but `{saver}` saved it for backward"
    help = "write it out of place, or edit a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report in-place edits of tensors that a recorded operation has saved and whose backward is still to come."""
        for edit in facts.edits:
            if not edit.saved or (edit.writes_leaf and edit.modes.records):
                continue
            saved = edit.saved[-1]
            yield self.finding(
                edit.span,
                fact=edit,
                because=((saved.span, f"`{saved.op}` saves its {saved.role} here"), *edit.because()),
                certainty=Certainty.CERTAIN if edit.backwarded else Certainty.LIKELY,
                op=edit.op,
                target=edit.target.name or "the tensor",
                saver=saved.op,
            )

    def fix(self, fact: Edit, source: Source) -> Fix:
        """Compute a new tensor under the same name."""
        if fact.inside is not None:
            raise NoFix("the edit stands in a function that others may call")
        return Fix(Safety.UNSAFE, "write it out of place", inplace.out_of_place(source, fact))
