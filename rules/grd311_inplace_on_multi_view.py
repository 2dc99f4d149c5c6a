"""One of several views that were made at once is edited in place.

## Why this is wrong

`chunk`, `split`, `unbind`, a loop over a tensor and its unpacking into names make several views at once. When one of
them is edited in place, autograd would have to make all of them anew, which it cannot: `RuntimeError: Output 0 of
SplitBackward is a view and is being modified inplace. This view is the output of a function that returns multiple
views`.

## Examples

```python
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        q, k = self.in_proj(x).chunk(2, dim=-1)
        q += self.bias  # error
        return q * k
```

## Use instead

```python
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        q, k = self.in_proj(x).chunk(2, dim=-1)
        q = q + self.bias
        return q * k
```

## Known limits

The tensor that is split must be on the graph for certain; the argument of a function is not. Slices, `select` and
`tensor_split` make one view at a time, which may be edited:

```python
import torch


def scaled(model, x):
    h = model(x)
    h[:, :2].mul_(2)
    left, right = h.tensor_split(2, dim=1)
    left += 1
    return right
```

## Fix safety

The fix computes a new tensor under the same name. What was split no longer sees the edit: it is unsafe and never
applied unasked. For an item of a list, and for the variable of a loop, there is no fix.

## Runtime check

```python
# raises: RuntimeError "returns multiple views"
Attention(4)(torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import ViewEdit
    from gradlint.fix import Source


class InplaceOnMultiView(Rule):
    """In-place edit of one of several views."""

    code = "GRD311"
    name = "inplace-on-multi-view"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` in place, one of several views made by {how}"
    help = "compute a new tensor, or edit what is split instead"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of one of several views of a tensor on the graph."""
        for view in facts.view_edits:
            if view.form == "multi":
                edit = view.edit
                yield self.finding(
                    edit.span,
                    ((view.made, "the views are made here"), (edit.span, "edited here")),
                    fact=view,
                    op=edit.op,
                    target=edit.target.name or "the view",
                    how=view.how if view.how in ("iteration", "unpacking") else f"`{view.how}`",
                )

    def fix(self, fact: ViewEdit, source: Source) -> Fix:
        """Compute a new tensor under the same name."""
        edits = inplace.out_of_place(source, fact.edit, of_view=True)
        return Fix(Safety.UNSAFE, "write it out of place", edits)
