"""`requires_grad` is misspelt, compared instead of assigned, or given something that is not a bool.

## Why this is wrong

A tensor is a Python object and takes any attribute: `p.require_grad = False` is accepted silently, and
`p.requires_grad` stays as it was. `p.requires_grad == False` as a statement computes a value and drops it.
`p.requires_grad_ = False` replaces the method by a bool, and the next `p.requires_grad_()` raises
`TypeError: 'bool' object is not callable`.

Assigning anything but a bool raises `RuntimeError: requires_grad must be a bool` when the line is reached.

## Examples

```python
import torch


def freeze(model):
    for param in model.parameters():
        param.require_grad = False  # error
```

```python
import torch


def freeze_head(head):
    head.weight.requires_grad == False  # error
    head.bias.requires_grad = 0  # error
```

```python
import torch


def saliency(model, image):
    image.requires_gard = True  # error
    model(image).sum().backward()
    return image.grad
```

## Use instead

```python
import torch


def freeze(model):
    for param in model.parameters():
        param.requires_grad = False
```

For a whole module there is a method:

```python
import torch


def freeze(model):
    model.requires_grad_(False)
```

## Known limits

A name close to `requires_grad` is reported on tensors, parameters and torch's modules. On objects of other classes,
and on modules whose class has an attribute of that name, it is an option like any other:

```python
from torch import nn


class Threshold(nn.Module):
    def __init__(self, require_grad=True):
        super().__init__()
        self.require_grad = require_grad

    def forward(self, x):
        return x if self.require_grad else x.detach()
```

Misspelt keyword arguments (`torch.ones(3, require_grad=True)`) raise `TypeError` at once and are left to torch.

## Fix safety

The fix corrects the name, turns `==` into `=`, or calls the method instead of assigning to it. The statement had no
effect before: it is safe where the value is a plain bool, and unsafe on a computed tensor, whose flag torch may refuse
to change. Values that are not bools are not fixed: what was meant is not known.

## Runtime check

```python
# shows: all(p.requires_grad for p in model.parameters())
model = nn.Linear(2, 1)
freeze(model)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import freezing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, LostFreeze
    from gradlint.fix import Source


REASONS = {
    "misspelt": "the name is misspelt, and a tensor takes any attribute",
    "compared": "this compares and drops the result",
    "method": "it replaces the method `requires_grad_` of that tensor",
    "not-bool": "the value is not a bool, torch raises a `RuntimeError`",
}


class RequiresGradTypo(Rule):
    """``requires_grad`` misspelt, compared, or assigned something that is no bool."""

    code = "GRD202"
    name = "requires-grad-typo"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{written}` does not set `requires_grad`: {reason}"
    help = "write `{target}.requires_grad = {value}`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report misspelt attributes, dropped comparisons and values that are not bools."""
        for write in facts.misspelt:
            yield self.finding(
                write.span,
                fact=write,
                written=write.written,
                reason=REASONS[write.form],
                target=write.target or "tensor",
                value=write.flag if isinstance(write.flag, bool) else "True or False",
            )

    def fix(self, fact: LostFreeze, source: Source) -> Fix:
        """Correct the name or the operator: the line had no effect before."""
        safety = Safety.SAFE if isinstance(fact.flag, bool) and not fact.computed else Safety.UNSAFE
        return Fix(safety, "set `requires_grad`", freezing.spelled(source, fact))
