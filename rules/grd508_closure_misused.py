"""The closure of an optimizer is missing, computes no gradients, or runs with gradients off.

## Why this is wrong

LBFGS evaluates the loss many times per step, and needs a function that does so: `step()` without one raises a
`TypeError`. A closure that does not go backward leaves it without gradients, so that it changes nothing and says
nothing. In an optimizer of one's own, `step` runs under `@torch.no_grad()`; a closure that is called there must be put
under `torch.enable_grad()`, as the optimizers of torch do, or its backward raises.

## Examples

```python
import torch


def fit(model, x, y):
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        return (model(x) - y).pow(2).mean()

    optimizer.step(closure)  # error
```

```python
import torch


def fit_without(model, x, y):
    optimizer = torch.optim.LBFGS(model.parameters())
    optimizer.zero_grad()
    (model(x) - y).pow(2).mean().backward()
    optimizer.step()  # error
```

## Use instead

```python
import torch


def fit(model, x, y):
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
```

## Known limits

An optimizer whose message shows a closure that returns a number, as `lambda: float(loss)`, wants no backward in it.
A closure that hands its loss to a function called like one that goes backward is trusted, and so is a closure that is
not in sight:

```python
import torch


def fit(model, x, y, closure):
    torch.optim.LBFGS(model.parameters()).step(closure)
```

That a closure clears no gradients is reported as `GRD502`.

## Runtime check

```python
# shows: model.bias.item() == before
model = nn.Linear(2, 1)
before = model.bias.item()
fit(model, torch.ones(3, 2), torch.full((3, 1), 9.0))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


MESSAGES = {
    "missing": "`{call}` needs a closure, and raises without one",
    "idle": "`{call}` is given a closure that never goes backward: no weight changes",
    "off": "`{call}` runs with gradients off: its backward raises",
}
HELPS = {"off": "write `with torch.enable_grad():` around the call"}


class ClosureMisused(Rule):
    """LBFGS without a closure, a closure without a backward, a closure called with gradients off."""

    code = "GRD508"
    name = "closure-misused"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` does not get its gradients"
    help = "give the step a function that clears, computes the loss, goes backward and returns the loss"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report closures that do not do their part."""
        for fact in facts.closure_misuses:
            yield self.finding(
                fact.span, fact.because, message=MESSAGES[fact.form], help=HELPS.get(fact.form), call=fact.call
            )
