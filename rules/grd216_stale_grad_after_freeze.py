"""Parameters are frozen while they hold a gradient, and the next step applies it.

## Why this is wrong

`requires_grad = False` stops backward from adding to a gradient. It does not drop the one that is there, and `step()`
does not ask for the flag: it changes whatever has a `.grad`. The frozen parameter makes one more step, or one at every
step if nothing ever clears it. A plain `zero_grad()` before the next step makes it safe, since it sets gradients to
None; with `set_to_none=False` momentum and weight decay go on moving the parameter.

## Examples

```python
import torch


def step(model, x, optimizer):
    model(x).sum().backward()
    for p in model.parameters():
        p.requires_grad = False  # error
    optimizer.step()
```

## Use instead

```python
import torch


def step(model, x, optimizer):
    model(x).sum().backward()
    for p in model.parameters():
        p.requires_grad = False
        p.grad = None
    optimizer.step()
```

## Known limits

Followed are the freezes of whole modules and of single parameters, in the function that goes backward and makes the
step. One that clears gradients somewhere on the way is taken to clear these:

```python
import torch


def step(model, x, optimizer):
    model(x).sum().backward()
    model.requires_grad_(False)
    optimizer.zero_grad()
    optimizer.step()
```

## Fix safety

The fix drops the gradient behind the freeze of a single parameter. The parameter then stays where it is, which changes
what is trained: it is unsafe. A module that is frozen by one call has no such line, and gets none.

## Runtime check

```python
# shows: not torch.equal(before, model.weight)
model = nn.Linear(4, 1)
before = model.weight.clone()
step(model, torch.ones(3, 4), torch.optim.SGD(model.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import freezing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.freezing import StaleGradient
    from gradlint.fix import Source


class StaleGradAfterFreeze(Rule):
    """A freeze between the backward pass that fills a gradient and a step that applies it."""

    code = "GRD216"
    name = "stale-grad-after-freeze"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` is frozen while it holds a gradient, which `{step}` still applies"
    help = "drop the gradient as well: `p.grad = None`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report freezes of what still has a gradient."""
        for fact in facts.stale_gradients:
            yield self.finding(fact.span, fact.because, fact=fact, name=fact.name, step=fact.step)

    def fix(self, fact: StaleGradient, source: Source) -> Fix:
        """Drop the gradient."""
        return Fix(Safety.UNSAFE, "drop the gradient as well", freezing.dropped(source, fact))
