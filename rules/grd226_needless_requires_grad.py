"""Inputs or labels of ordinary training require grad, and nobody reads their gradient.

## Why this is wrong

Training needs the gradients of parameters, which require grad by themselves. A batch that requires grad too makes
every backward compute and keep the gradient with respect to the data, and makes layers save more for it. Where the
same tensor comes again, its `.grad` adds up, for no optimizer clears it. Nothing fails: it is waste, and often a sign
that `requires_grad` was taken for what makes a model train.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        x.requires_grad_()  # error
        y.requires_grad = True  # error
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

The state that a recurrent network starts from need not require grad either:

```python
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 8)

    def forward(self, x):
        h0 = torch.zeros(1, x.size(1), 8).requires_grad_()  # error
        return self.rnn(x, h0)[0]
```

## Use instead

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

## Known limits

Reported only in functions that go backward and step, for what is called like an input or a label, in the methods of
modules, for zeros and ones that are called like a state, and where a tensor without a name is made for a module that
trains. Silent is every file that asks for gradients of inputs anywhere (`torch.autograd.grad`, hooks, checkpointing),
every tensor whose `.grad` is read or that goes where it is not in sight, as those of attacks, saliency maps and
physics-informed losses do:

```python
import torch


def adversarial(model, loader, criterion, optimizer):
    for x, y in loader:
        x.requires_grad_()
        criterion(model(x), y).backward()
        optimizer.zero_grad()
        criterion(model((x + 0.1 * x.grad.sign()).detach()), y).backward()
        optimizer.step()
```

## Fix safety

The fix takes `x.requires_grad_()` or `x.requires_grad = True` out, and the argument from a call. If a
gradient is read in code out of sight it is missed there: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: batch[0].grad is not None
model = nn.Linear(2, 1)
batch = (torch.ones(3, 2), torch.zeros(3, 1))
train(model, [batch], nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import leaves
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import NeedlessFlag
    from gradlint.fix import Source

STATE = "`{name}` starts anew in every forward: it need not require grad for gradients to flow through the steps"


class NeedlessRequiresGrad(Rule):
    """Data that requires grad for nobody."""

    code = "GRD226"
    name = "needless-requires-grad"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{name}` is data: it need not require grad for the parameters to be trained"
    help = "leave it out, for every backward computes a gradient that nobody reads"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report flags on data whose gradient nobody reads."""
        for fact in facts.needless_flags:
            yield self.finding(fact.span, message=STATE if fact.state else None, fact=fact, name=fact.name)

    def fix(self, fact: NeedlessFlag, source: Source) -> Fix:
        """Take the flag away."""
        return Fix(Safety.UNSAFE, "leave the flag out", leaves.unflagged(source, fact))
