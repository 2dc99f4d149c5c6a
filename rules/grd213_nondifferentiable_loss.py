"""The loss is computed through `argmax`, a comparison or an integer cast, which have no derivative.

## Why this is wrong

Classes, comparisons, indices and integers do not change when the weights move a little: there is no gradient to take.
torch returns them without a graph, and `backward()` raises `element 0 of tensors does not require grad and does not
have a grad_fn`. As one term of a sum, accuracy and its like leave the gradient as it is, without a word.

Training needs a loss that is smooth in the outputs: cross entropy for classes, a squared or absolute error for values.

## Examples

```python
import torch


def step(model, x, labels):
    wrong = (model(x).argmax(dim=1) != labels).float().mean()  # error
    wrong.backward()
```

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    out = torch.sigmoid(model(x))
    missed = ((out > 0.5).float() - y).abs().mean()  # error
    loss = F.binary_cross_entropy(out, y) + missed
    loss.backward()
```

## Use instead

```python
import torch
import torch.nn.functional as F


def step(model, x, labels):
    out = model(x)
    F.cross_entropy(out, labels).backward()
    return (out.argmax(dim=1) == labels).float().mean()
```

## Known limits

As an index, a mask, a condition or a factor such values are constants on purpose and not reported, and neither are
pseudo labels beside a differentiable loss:

```python
import torch


def step(model, x, y):
    out = model(x)
    mask = (out > 0).float()
    (mask * (out - y) ** 2).mean().backward()
```

`round` and `sign` keep a graph whose gradient is zero; they belong to another rule.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
step(nn.Linear(4, 3), torch.ones(2, 4), torch.tensor([0, 2]))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class NondifferentiableLoss(Rule):
    """A loss that nothing can be derived from."""

    code = "GRD213"
    name = "nondifferentiable-loss"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` of `{name}` has no derivative, and the loss is computed from it: {effect}"
    help = "use a loss that changes smoothly with the outputs, such as cross entropy; keep this one as a metric"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report operations without a derivative on the way to the loss."""
        for cut in facts.lost_graphs:
            if cut.kind == "index":
                effect = "backward raises" if cut.whole else "it adds nothing to any gradient"
                yield self.finding(cut.span, cut.because, call=cut.call, name=cut.name or "the value", effect=effect)
