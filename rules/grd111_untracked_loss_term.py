"""A term of the loss depends on parameters and was computed with gradients off.

## Why this is wrong

`backward()` walks the graph of the sum. A term that was computed under `no_grad` has none, and counts as a constant:
the loss that is printed contains it, and no gradient does. A weight penalty penalises nothing, a gradient penalty does
not hold the critic back. Nothing raises, because the other terms have a graph.

## Examples

```python
import torch
from torch import nn


def step(net, x):
    loss = net(x).sum()
    with torch.no_grad():
        penalty = (net.weight**2).sum()  # error
    (loss + 10 * penalty).backward()


def run():
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    step(net, torch.ones(1, 1))
    return net.weight.grad.item()
```

## Use instead

```python
import torch
from torch import nn


def step(net, x):
    loss = net(x).sum()
    penalty = (net.weight**2).sum()
    (loss + 10 * penalty).backward()


def run():
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    step(net, torch.ones(1, 1))
    return net.weight.grad.item()
```

## Known limits

A target, a weight of a term and a scale look the same and are right. Reported is only a summand that is computed from
trained parameters, or from a gradient that was asked for with `create_graph=True`, and from nothing else that could be
data:

```python
import torch


def distil(student, teacher, x):
    with torch.no_grad():
        target = teacher(x)
    (student(x) - target).pow(2).mean().backward()
```

What a generator expression adds up is not followed.

## Fix safety

The fix turns the region in which the term is computed into one with gradients. The term then counts in training: it is
unsafe and never applied unasked.

## Runtime check

```python
# shows: abs(run() - 1.0) < 1e-6
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import UntrackedTerm
    from gradlint.fix import Source


class UntrackedLossTerm(Rule):
    """A regulariser or penalty that is added to the loss without a graph."""

    code = "GRD111"
    name = "untracked-loss-term"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = (
        "`{term}` is a term of the loss, and was computed with gradients off: `{backward}` treats it as a constant"
    )
    help = "compute it outside of the block that turns gradients off"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report terms of parameters that have no graph."""
        for fact in facts.untracked_terms:
            yield self.finding(
                fact.span, fact.because, fact=fact, term=fact.term or "this value", backward=fact.backward
            )

    def fix(self, fact: UntrackedTerm, source: Source) -> Fix:
        """Compute the term with gradients on."""
        return Fix(
            Safety.UNSAFE, "compute the term with gradients on", modes.with_gradients(source, fact.span, fact.since)
        )
