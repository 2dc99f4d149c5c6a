"""A value without a graph is made a new leaf, so that backward runs and the model gets no gradient.

## Why this is wrong

When a loss has lost its graph (`.item()`, `.detach()`, `argmax`, a forward under `torch.no_grad()`), `backward()`
raises `element 0 of tensors does not require grad`. `loss.requires_grad_()`, `loss.requires_grad = True`,
`Variable(loss, requires_grad=True)` and `torch.tensor(loss.item(), requires_grad=True)` silence the error and repair
nothing: they declare the number itself to be the thing that is differentiated. Backward ends there. The gradient of
every parameter stays `None`, the optimizer skips them all, and training goes on without an effect.

The graph was lost earlier. That is where the repair belongs.

## Examples

```python
import torch


def training_step(model, x, y):
    with torch.no_grad():
        loss = (model(x) - y).pow(2).mean()
    loss.requires_grad = True  # error
    loss.backward()
```

```python
import torch


def epoch_step(model, batches, criterion, optimizer):
    losses = [criterion(model(x), y).item() for x, y in batches]
    loss = torch.tensor(losses, requires_grad=True).mean()  # error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

`Variable` detaches what it is given:

```python
from torch.autograd import Variable


def step(model, criterion, x, y):
    loss = Variable(criterion(model(x), y), requires_grad=True)  # error
    loss.backward()
```

Accuracy has no gradient, and asking for one does not give it one:

```python
import torch


def step(model, x, labels):
    error = (model(x).argmax(dim=1) != labels).float().mean()
    error.requires_grad_()  # error
    error.backward()
```

## Use instead

```python
import torch


def training_step(model, x, y):
    loss = (model(x) - y).pow(2).mean()
    loss.backward()
```

To average losses, stack them:

```python
import torch


def epoch_step(model, batches, criterion, optimizer):
    losses = [criterion(model(x), y) for x, y in batches]
    optimizer.zero_grad()
    torch.stack(losses).mean().backward()
    optimizer.step()
```

## Known limits

A leaf whose own gradient is wanted is not reported: an input (saliency, adversarial examples, gradient penalties), a
tensor that an optimizer owns, a value whose `.grad` is read and passed on, as in split learning:

```python
import torch


def split_step(client, server, x, y):
    sent = client(x)
    received = sent.detach().requires_grad_()
    loss = (server(received) - y).pow(2).mean()
    loss.backward()
    sent.backward(received.grad)
```

On a tracked loss `requires_grad_()` changes nothing and is not reported either.

## Runtime check

```python
# shows: model.weight.grad is None
model = nn.Linear(2, 1)
training_step(model, torch.ones(3, 2), torch.zeros(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class ResurrectedLoss(Rule):
    """A computed value without a graph, made a leaf and then backwarded."""

    code = "GRD208"
    name = "resurrected-loss"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{target}` lost its graph earlier: `{call}` makes it a new leaf, and backward ends there"
    help = "keep the graph of `{target}` instead of asking for gradients of the finished value"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report untracked results that are made leaves and backwarded although nobody wants their gradient."""
        for backward in facts.backwards:
            target = backward.target
            for span in sorted(target.flagged):
                yield self.finding(
                    span,
                    because=(*target.because(), (span, "made a new leaf here"), (backward.span, "backward here")),
                    certainty=Certainty.CERTAIN if target.cut or target.leaf else Certainty.LIKELY,
                    target=target.name or "the value",
                    call="requires_grad",
                )
