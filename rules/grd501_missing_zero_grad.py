"""Backward and step run in a loop, and nothing clears the gradients in between.

## Why this is wrong

`backward()` adds to `.grad`; it does not replace it. Without `zero_grad()`, each step applies the sum of the gradients
of all iterations so far: 2, 4, 6 instead of 2, 2, 2. Nothing raises. Training gets unstable, or converges to
something else, and looks like a bad learning rate.

The same happens when another optimizer's gradients are cleared, when they are cleared once per epoch, only on one
branch, or when one player's backward leaves its gradients in the other player's parameters.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()  # error
        optimizer.step()
```

Once per epoch is not often enough when there is a step per batch:

```python
import torch


def train_epochs(model, loader, criterion, optimizer, epochs):
    for _ in range(epochs):
        optimizer.zero_grad()
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.backward()  # error
            optimizer.step()
```

Only the branch without mixed precision clears:

```python
import torch


def train_mixed(model, loader, criterion, optimizer, scaler, mixed):
    for x, y in loader:
        loss = criterion(model(x), y)
        if mixed:
            scaler.scale(loss).backward()  # error
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
```

The generator's backward goes through the discriminator and leaves gradients there:

```python
import torch


def train_gan(generator, discriminator, loader):
    opt_g = torch.optim.Adam(generator.parameters())
    opt_d = torch.optim.Adam(discriminator.parameters())
    for real, noise in loader:
        opt_g.zero_grad()
        opt_d.zero_grad()
        fake = generator(noise)
        g_loss = -discriminator(fake).mean()
        g_loss.backward()
        opt_g.step()
        d_loss = discriminator(fake.detach()).mean() - discriminator(real).mean()
        d_loss.backward()  # error
        opt_d.step()
```

## Use instead

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
```

To accumulate on purpose, clear where the step is:

```python
import torch


def train_accumulating(model, loader, criterion, optimizer, every):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / every
        loss.backward()
        if (i + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
```

## Known limits

`model.zero_grad()`, `p.grad = None`, `w.grad.zero_()`, helpers that do one of these, and assigned gradients count as
clearing. An engine or an optimizer that goes backward itself, as in `engine.backward(loss)`, may clear by itself.
A method that makes one step, and whose callers are not known, is reported only where its object makes the module and
the optimizer itself and nothing in the file clears for it: others may. Nor are updates by hand reported, such as
`p.data -= lr * p.grad`, where code that is not in sight gets the module.

```python
import torch


class Learner:
    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer

    def update(self, loss):
        loss.backward()
        self.optimizer.step()
```

Two players whose work a third module judges are on one side: what a backward for both leaves is not reported.
Which parameters an optimizer owns is known only where it is built from them within sight.

## Fix safety

The fix puts `zero_grad()` in front of the backward, if the step is in the same block and no other backward comes before
it. It changes the results of training, and where gradients were accumulated on purpose it is wrong: it is unsafe and
never applied unasked.

## Runtime check

```python
# shows: model.bias.grad.item() == 3.0
model = nn.Linear(2, 1)
loader = [(torch.ones(1, 2), None)] * 3
train(model, loader, lambda out, _: out.mean(), torch.optim.SGD(model.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import stepping
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, Uncleared
    from gradlint.fix import Source

BY_HAND = "set `{leaf}.grad = None` once per step, before this backward"


class MissingZeroGrad(Rule):
    """Backward and step in a loop without anything that clears the gradients."""

    code = "GRD501"
    name = "missing-zero-grad"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "gradients that `{step}` applies are never cleared: `{call}` adds to those of {source}"
    help = "call `{optimizer}.zero_grad()` once per step, before this backward"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward calls in loops that add to gradients a step has used or another loss has left."""
        for fact in facts.uncleared:
            yield self.finding(
                fact.span,
                fact=fact,
                because=fact.because,
                help=None if fact.optimizer else BY_HAND,
                leaf=fact.leaf,
                call=fact.call,
                step=fact.step,
                source=fact.source,
                optimizer=fact.optimizer,
            )

    def fix(self, fact: Uncleared, source: Source) -> Fix:
        """Clear the gradients in front of the backward."""
        return Fix(Safety.UNSAFE, f"call `{fact.optimizer}.zero_grad()` first", stepping.cleared(source, fact))
