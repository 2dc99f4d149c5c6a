"""A step without a backward pass, or a backward pass without a step: nothing is trained.

## Why this is wrong

`step()` applies what stands in `.grad`. If gradients were cleared and nothing went backward since, every `.grad` is
None, and the step does nothing, without a word; the loss goes on being computed and printed. `torch.autograd.grad`
*returns* gradients and fills no `.grad`, so a step after it is empty as well. A loop that clears and goes backward and
never steps computes gradients for nobody.

## Examples

```python
import torch


def train(model, loader, criterion):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        optimizer.step()  # error
```

```python
import torch


def descend(w, optimizer):
    torch.autograd.grad((w * 2).sum(), w)
    optimizer.step()  # error
```

## Use instead

```python
import torch


def train(model, loader, criterion):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
```

## Known limits

What one function does is followed, with the functions of the file that it calls. A loss that is given to code out of
sight may be walked back there, gradients that are read may be all that is wanted, and a step without a loss before it
warms up the state of the optimizer:

```python
import torch


def train(model, loader, criterion, optimizer, walk):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        walk(loss)
        optimizer.step()
```

## Runtime check

```python
# shows: torch.equal(before, model.weight)
model = nn.Linear(4, 1)
before = model.weight.clone()
train(model, [(torch.ones(3, 4), torch.zeros(3, 1))], nn.MSELoss())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

WHAT = {
    "empty": "`{call}` finds no gradient: they were cleared, and no backward pass has filled them since",
    "grad": "`{call}` finds no gradient: `{step}` returns gradients, and fills none",
    "unstepped": "`{call}` fills gradients that `{step}` clears, and no step ever applies",
}
DO = {
    "empty": "go backward from the loss before the step",
    "grad": "call `backward()`, or assign the gradients: `p.grad = gradient`",
    "unstepped": "make a step behind the backward pass",
}


class StepWithoutBackward(Rule):
    """One half of training without the other."""

    code = "GRD507"
    name = "step-without-backward"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = WHAT["empty"]
    help = DO["empty"]

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report steps that nothing feeds, and passes that nothing applies."""
        for fact in facts.idle_steps:
            what, do = WHAT[fact.form], DO[fact.form]
            yield self.finding(fact.span, fact.because, message=what, help=do, call=fact.call, step=fact.step)
