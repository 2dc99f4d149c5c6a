"""`backward(create_graph=True)` leaves gradients that hold the graph that holds the parameters: nothing frees them.

## Why this is wrong

With `create_graph=True` the gradients in `.grad` are part of a graph. It leads back to the parameters, which hold the
gradients: a cycle through C++ that Python's garbage collector cannot see. The parameters, the graph and its saved
tensors stay in memory until somebody sets `.grad` to None; torch warns that this `will create a reference cycle`.

## Examples

```python
import torch


def curvature(model, x):
    loss = model(x).pow(2).sum()
    loss.backward(create_graph=True)  # error
    return loss.item()
```

## Use instead

`autograd.grad` returns the gradients, and stores none:

```python
import torch


def curvature(model, x):
    loss = model(x).pow(2).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    return sum(gradient.pow(2).sum() for gradient in gradients)
```

## Known limits

A function that clears or touches gradients in any way is taken to free them, which is mostly right:

```python
import torch


def step(model, x, optimizer):
    model(x).pow(2).sum().backward(create_graph=True)
    optimizer.step()
    optimizer.zero_grad()
```

There is no fix: which gradients are wanted, and where they should go, is not written in the call.

## Runtime check

```python
# shows: any(p.grad is not None and p.grad.requires_grad for p in model.parameters())
model = nn.Linear(4, 1)
curvature(model, torch.ones(3, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class CreateGraphLeak(Rule):
    """Backward passes that leave a cycle of graph and gradients."""

    code = "GRD406"
    name = "create-graph-leak"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` leaves gradients that hold the graph, and nothing here clears them"
    help = "use `torch.autograd.grad(..., create_graph=True)`, or set the gradients to None afterwards"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report passes that record themselves, in functions that clear no gradients."""
        for odd in facts.odd_passes:
            if odd.form == "kept":
                yield self.finding(odd.span, odd.because, call=odd.call)
