"""The optimizer steps before the backward pass of its iteration.

## Why this is wrong

Between `zero_grad()` and `backward()` there are no gradients. A step there skips every parameter, and the next
`zero_grad()` throws away what backward has computed: nothing is ever learned, and nothing raises.

## Examples

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    optimizer.step()  # error
    loss.backward()
```

## Use instead

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    loss.backward()
    optimizer.step()
```

## Known limits

A step in front of `zero_grad()` applies the gradients of the iteration before, which is one step late and legal:

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.step()
        optimizer.zero_grad()
        criterion(model(x), y).backward()
```

Gradients that are set by hand, and those that code out of sight may have computed, keep the rule silent.

## Fix safety

The fix moves the step behind the backward. Training begins to learn: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: model.bias.item() == before
model = nn.Linear(2, 1)
before = model.bias.item()
step(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(3, 2), torch.full((3, 1), 9.0))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import stepping
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.protocol import EarlyStep
    from gradlint.fix import Source


class StepBeforeBackward(Rule):
    """A step between clearing and backward."""

    code = "GRD503"
    name = "step-before-backward"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` runs before `{backward}`, when there are no gradients to apply"
    help = "step after the backward"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report steps that come too early."""
        for fact in facts.early_steps:
            yield self.finding(fact.span, fact.because, fact=fact, call=fact.call, backward=fact.backward)

    def fix(self, fact: EarlyStep, source: Source) -> Fix:
        """Step behind the backward."""
        return Fix(Safety.UNSAFE, f"move `{fact.call}` behind the backward", stepping.behind_backward(source, fact))
