"""The condition that decides about the gradient mode stands the wrong way round.

## Why this is wrong

`no_grad() if gradients_required else nullcontext()` turns gradients off exactly where they are wanted. Training then
stops at the first backward, with `element 0 of tensors does not require grad`, or, where other parts have a graph, goes
on without these parameters. The other branch builds a graph for nobody.

## Examples

```python
import torch
from contextlib import nullcontext


def embed(model, x, gradients_required):
    with torch.no_grad() if gradients_required else nullcontext():  # error
        return model(x)
```

```python
import torch


def run(model, x, training):
    with torch.set_grad_enabled(not training):  # error
        return model(x)
```

## Use instead

```python
import torch
from contextlib import nullcontext


def embed(model, x, gradients_required):
    with nullcontext() if gradients_required else torch.no_grad():
        return model(x)
```

```python
import torch


def run(model, x, training):
    with torch.set_grad_enabled(training):
        return model(x)
```

## Known limits

What the condition means is read off its name: `training`, `requires_grad`, `gradients_required` and the like want
gradients, `evaluate`, `inference` and `no_grad` do not. Other names, comparisons and conditions of several parts say
nothing:

```python
import torch
from contextlib import nullcontext


def embed(model, x, freeze_encoder):
    with torch.no_grad() if freeze_encoder else nullcontext():
        return model(x)
```

## Fix safety

The fix puts a `not` in front of the condition, or takes it away. Whatever was worked around elsewhere changes as well:
it is unsafe and never applied unasked. There is none where two assignments choose the context.

## Runtime check

```python
# shows: not embed(nn.Linear(2, 1), torch.ones(1, 2), True).requires_grad
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import conditions
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import Inverted
    from gradlint.fix import Source


class InvertedGradCondition(Rule):
    """`no_grad() if gradients_required else nullcontext()`."""

    code = "GRD123"
    name = "inverted-grad-condition"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{context}` turns gradients off where `{condition}` is {truth}, which is where they are wanted"
    help = "swap the two sides of the condition"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report conditions that stand the wrong way round."""
        for fact in facts.inverted:
            yield self.finding(fact.span, fact=fact, context=fact.context, condition=fact.condition, truth=fact.truth)

    def fix(self, fact: Inverted, source: Source) -> Fix:
        """Negate the condition."""
        return Fix(Safety.UNSAFE, f"negate `{fact.condition}`", conditions.negated(source, fact))
