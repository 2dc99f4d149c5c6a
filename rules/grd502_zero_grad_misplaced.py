"""Gradients are cleared at the wrong place: before the step that needs them, per micro-batch, or outside the closure.

## Why this is wrong

`zero_grad()` between `backward()` and `step()` throws away what backward computed. The step then finds no gradients and
skips every parameter; with `set_to_none=False` it applies zeros, and only momentum and weight decay still move the
weights. Nothing raises, and nothing is learned.

Clearing before every micro-batch of an accumulation leaves only the last one. LBFGS calls its closure many times per
step: what is cleared once outside adds up inside.

## Examples

```python
import torch


def step(model, optimizer, x, y):
    loss = (model(x) - y).pow(2).mean()
    loss.backward()
    optimizer.zero_grad()  # error
    optimizer.step()
```

Each micro-batch throws away the one before:

```python
import torch


def train(model, loader, criterion, optimizer, every):
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()  # error
        loss = criterion(model(x), y) / every
        loss.backward()
        if (i + 1) % every == 0:
            optimizer.step()
```

```python
import torch


def fit(model, x, y):
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        return loss

    optimizer.zero_grad()  # error
    optimizer.step(closure)
```

## Use instead

```python
import torch


def step(model, optimizer, x, y):
    loss = (model(x) - y).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

```python
import torch


def train(model, loader, criterion, optimizer, every):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / every
        loss.backward()
        if (i + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()


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

Clearing another player's gradients, skipping a step whose gradients are not finite, and clearing before gradients are
put back by hand are legal and silent:

```python
import torch


def train_safely(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not torch.isfinite(norm):
            optimizer.zero_grad()
            continue
        optimizer.step()
```

A conditional step is taken for an accumulation only where the condition counts batches.

## Fix safety

The fix moves the call in front of the backward, behind the step, or into the closure. It changes the results of
training: it is unsafe and never applied unasked.

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
    from gradlint.facts import Facts, Wiped
    from gradlint.fix import Source


MESSAGES = {"closure": "`{call}` clears once, but `{step}` runs its closure many times and adds up what it computes"}
HELPS = {
    "micro-batch": "clear once per step, where the step is",
    "closure": "clear inside the closure, before its backward",
}


class ZeroGradMisplaced(Rule):
    """Gradients cleared before the step that should apply them."""

    code = "GRD502"
    name = "zero-grad-misplaced"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` throws away gradients that `{step}` should apply"
    help = "clear before the backward, or after the step"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls that clear gradients which a later step still needs."""
        for fact in facts.wiped:
            message = MESSAGES.get(fact.form)
            help_ = HELPS.get(fact.form)
            yield self.finding(
                fact.span, fact.because, fact=fact, message=message, help=help_, call=fact.call, step=fact.step
            )

    def fix(self, fact: Wiped, source: Source) -> Fix:
        """Clear before the backward, behind the step, or inside the closure."""
        return Fix(Safety.UNSAFE, f"move `{fact.call}`", stepping.moved(source, fact))
