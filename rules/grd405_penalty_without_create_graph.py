"""A gradient enters a loss, but was computed without a graph: the penalty trains nothing.

## Why this is wrong

What `autograd.grad` returns is a constant unless it is asked to record, by `create_graph=True`. A penalty on that
gradient has no gradient of its own. Alone it raises `does not require grad`; added to another loss it raises nothing
and changes nothing: the gradients are the same, bit by bit, as without the penalty. Nor is there a second derivative of
what was not recorded: to differentiate it again raises the same.

## Examples

```python
import torch


def critic_loss(critic, x):
    x = x.clone().requires_grad_()
    score = critic(x).sum()
    gradient = torch.autograd.grad(score, x, retain_graph=True)[0]  # error
    loss = score + 10 * (gradient.norm(dim=1) - 1).pow(2).mean()
    loss.backward()
```

```python
import torch


def curvature(x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(x.sin().sum(), x)  # error
    return torch.autograd.grad(slope.sum(), x)
```

## Use instead

```python
import torch


def critic_loss(critic, x):
    x = x.clone().requires_grad_()
    score = critic(x).sum()
    gradient = torch.autograd.grad(score, x, create_graph=True)[0]
    loss = score + 10 * (gradient.norm(dim=1) - 1).pow(2).mean()
    loss.backward()
```

## Known limits

The gradient and the backward must be in one function, and every operation between them be known to keep the graph, or
the whole term of the loss be a constant. Otherwise the function that returns it, the module whose `forward` does, or
the variable that is added to a loss must be called a penalty; or it is a `forward` that returns the gradient beside the
value, as forces with an energy. Saliency maps, which nobody
backwards, and detached gradients are silent.

```python
import torch


def saliency(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x)[0].abs()
```

## Fix safety

The fix writes `create_graph=True`. The loss then has a term that it did not have before, and training takes more
memory: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: critic[0].weight.grad.equal(plain[0].weight.grad)
import copy

torch.manual_seed(0)
critic = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
plain = copy.deepcopy(critic)
plain(torch.ones(3, 4)).sum().backward()
critic_loss(critic, torch.ones(3, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import asking_for
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, OddPass
    from gradlint.fix import Source


AGAIN = "a gradient without a graph is differentiated again: `{call}` lacks `create_graph=True`"
RETURNED = "`forward` returns a gradient that no loss can train: `{call}` lacks `create_graph=True`"
FOR_TRAINING = "record its graph where the module is trained: `create_graph=self.training`"


class PenaltyWithoutCreateGraph(Rule):
    """Gradients without a graph in a loss, or in what a module returns to one."""

    code = "GRD405"
    name = "penalty-without-create-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "a gradient without a graph enters the loss: `{call}` lacks `create_graph=True`"
    help = "give it `create_graph=True`, or detach what is meant as a number"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report gradients without a graph that a backward starts from."""
        for odd in facts.odd_passes:
            if odd.form == "flat":
                yield self.finding(odd.span, odd.because, fact=odd, call=odd.call)
            elif odd.form == "again":
                yield self.finding(odd.span, odd.because, fact=odd, message=AGAIN, call=odd.call)
            elif odd.form == "returned":
                yield self.finding(odd.span, odd.because, fact=odd, message=RETURNED, help=FOR_TRAINING, call=odd.call)

    def fix(self, fact: OddPass, source: Source) -> Fix:
        """Ask for the gradient's graph."""
        return Fix(Safety.UNSAFE, "let the gradient be recorded", asking_for.recorded(source, fact))
