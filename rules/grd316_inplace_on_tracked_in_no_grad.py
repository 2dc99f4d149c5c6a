"""A tensor on the graph is edited in place with gradients off.

## Why this is wrong

With gradients off an edit changes the value and nothing else: the graph of the tensor stays that of the old value. A
loss that is scaled so has another value and the same gradient; features that are clamped or masked so still get a
gradient where they were masked. No error tells, unless an operation had saved the tensor.

## Examples

```python
import torch


def gradient_of_scaled(w):
    loss = (w * 3).sum()
    with torch.no_grad():
        loss *= 10  # error
    loss.backward()
    return w.grad
```

## Use instead

```python
import torch


def gradient_of_scaled(w):
    loss = (w * 3).sum()
    loss *= 10
    loss.backward()
    return w.grad
```

## Known limits

Reported if the function itself goes backward from the edited tensor afterwards. Edits of parameters between iterations
are how updates are made by hand, and what is edited behind backward is edited for a log:

```python
import torch


def update(w, loss_fn, lr):
    loss = loss_fn(w)
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
        loss *= 100
    return loss.item()
```

There is no fix: whether the edit belongs on the graph or on a copy is not known.

## Runtime check

```python
# shows: gradient_of_scaled(torch.ones(2, requires_grad=True)).eq(3).all()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class InplaceOnTrackedInNoGrad(Rule):
    """In-place edit, with gradients off, of what a backward goes through."""

    code = "GRD316"
    name = "inplace-on-tracked-in-no-grad"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` with gradients off: its value changes, its gradient does not"
    help = "edit it with gradients on, or edit a detached clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits that the graph does not see, of what a backward goes through."""
        for hidden in facts.hidden_edits:
            edit = hidden.edit
            because = (
                (hidden.off, "gradients off since here"),
                (edit.span, "edited here"),
                (hidden.used, "backward here"),
            )
            yield self.finding(edit.span, because, op=edit.op, target=edit.target.name or "the tensor")
