"""A view that was made with gradients off is edited with gradients on.

## Why this is wrong

An edit of a view is an edit of the tensor that it is a view of, and its graph has to say so. With gradients off no
graph of the view was recorded, so autograd cannot tell how the edit reaches the tensor. torch refuses:
`RuntimeError: A view was created in no_grad mode and is being modified inplace with grad mode enabled`.

## Examples

```python
import torch


def scaled(encoder, x):
    h = encoder(x)
    with torch.no_grad():
        rows = h.view(2, 2)
    rows.mul_(3)  # error
    return h.sum()
```

## Use instead

Make the view where it is edited:

```python
import torch


def scaled(encoder, x):
    h = encoder(x)
    h.view(2, 2).mul_(3)
    return h.sum()
```

or edit it where it is made, if the graph is not to see the edit.

## Known limits

The tensor must be on the graph for certain, and the view must be made and edited in one function. Views of what is off
the graph, and copies, may be edited:

```python
import torch


def legal(encoder, x):
    h = encoder(x)
    with torch.no_grad():
        rows = x.view(2, 2)
        copy = h.view(2, 2).clone()
        detached = h.detach().view(2, 2)
    rows.mul_(3)
    copy.mul_(3)
    return detached.clone().mul_(3)
```

There is no fix: whether the graph is to see the edit is not known.

## Runtime check

```python
# raises: RuntimeError "A view was created in no_grad mode"
scaled(nn.Linear(4, 4), torch.ones(1, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class NoGradViewEdited(Rule):
    """In-place edit, with gradients on, of a view that was made with gradients off."""

    code = "GRD312"
    name = "no-grad-view-edited"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{op}` edits `{target}` with gradients on, a view that was made with gradients off"
    help = "make the view with gradients on as well, or edit it where it is made"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of views whose graph was not recorded."""
        for view in facts.view_edits:
            if view.form == "blind":
                because = ((view.made, "the view is made here, with gradients off"), (view.edit.span, "edited here"))
                yield self.finding(view.edit.span, because, op=view.edit.op, target=view.how or "the view")
