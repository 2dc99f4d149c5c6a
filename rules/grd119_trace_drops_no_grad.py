"""`torch.jit.trace` is given code that relies on gradients being off.

## Why this is wrong

A trace keeps the operations and not the gradient mode: the `no_grad` inside of the traced function is gone, and the
traced code records a graph, without an error. `detach()` is an operation, and is kept. `torch.jit.script` keeps
`no_grad` as well.

## Examples

```python
import torch


@torch.no_grad()
def embed(x):
    return x.exp()


def load(x):
    return torch.jit.trace(embed, x)  # error
```

## Use instead

```python
import torch


def embed(x):
    return x.exp().detach()


def load(x):
    return torch.jit.trace(embed, x)
```

## Known limits

Reported is a function, or a module of the project, all of whose result is computed with gradients off. What turns them
off for a part is not reported, since a trace is often only run where gradients are off anyway:

```python
import torch


def centred(x):
    with torch.no_grad():
        centre = x.mean()
    return x - centre


def load(x):
    return torch.jit.trace(centred, x)
```

## Runtime check

```python
# shows: load(torch.ones(2))(torch.ones(2, requires_grad=True)).requires_grad
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class TraceDropsNoGrad(Rule):
    """`torch.jit.trace` of what turns gradients off."""

    code = "GRD119"
    name = "trace-drops-no-grad"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` drops the `no_grad` of `{function}`: the traced code records a graph"
    help = "`detach()` the result, or call the traced code under `torch.no_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report traces of functions without a graph."""
        for fact in facts.flat_traces:
            yield self.finding(fact.span, fact.because, call=fact.call, function=fact.function)
