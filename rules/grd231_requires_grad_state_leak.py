"""What a function freezes or thaws for a while is not as it was before when the function returns.

## Why this is wrong

`requires_grad` belongs to the parameters and outlives the function that sets it. Where a discriminator is frozen for
the generator's step and a condition returns in between, it stays frozen: its own steps find no gradients afterwards,
and skip every parameter without a word.

## Examples

```python
import torch


def generator_step(generator, discriminator, optimizer, x):
    discriminator.requires_grad_(False)
    loss = -discriminator(generator(x)).mean()
    if not torch.isfinite(loss):
        return None  # error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    discriminator.requires_grad_(True)
    return loss.item()
```

Flags that are set for a while on tensors of others, and then cleared for all of them:

```python
import torch


class Product:
    def derivative(self, left, right):
        factors = self.representation()
        for factor in factors:
            factor.requires_grad_(True)
        value = (left * self.matmul(right)).sum()
        grads = torch.autograd.grad(value, factors)
        for factor in factors:
            factor.requires_grad_(False)  # error
        return grads
```

## Use instead

```python
import torch


def generator_step(generator, discriminator, optimizer, x):
    discriminator.requires_grad_(False)
    try:
        loss = -discriminator(generator(x)).mean()
        if not torch.isfinite(loss):
            return None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    finally:
        discriminator.requires_grad_(True)
```

```python
import torch


class Product:
    def derivative(self, left, right):
        factors = [factor.detach().requires_grad_() for factor in self.representation()]
        value = (left * self.matmul(factors, right)).sum()
        return torch.autograd.grad(value, factors)
```

## Known limits

Reported only where the same function makes the module trainable again further down. Freezing for good, and setting the
flags by conditions that belong together, are silent:

```python
import torch


def configure(model, frozen):
    model.requires_grad_(False)
    if frozen:
        return model
    model.head.requires_grad_(True)
    return model
```

There is no fix: what should happen on the way out is not known.

## Runtime check

```python
# shows: not discriminator.weight.requires_grad
generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 1)
optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
generator_step(generator, discriminator, optimizer, torch.full((3, 2), float("nan")))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

TOGGLED = "all of `{name}` is frozen here, whatever of it required grad before"


class RequiresGradStateLeak(Rule):
    """Flags that are not restored on every way out."""

    code = "GRD231"
    name = "requires-grad-state-leak"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` stays frozen here: it is made trainable again only further down"
    help = "restore the flags in a `finally` clause, or before the return"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report returns between a freeze and the statement that takes it back."""
        for fact in facts.unrestored:
            message, help_ = (TOGGLED, "remember the flags, and set these again") if fact.toggled else (None, None)
            yield self.finding(fact.span, fact.because, message=message, help=help_, name=fact.name)
