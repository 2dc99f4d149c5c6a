"""A backward pass walks a graph that an earlier pass has freed.

## Why this is wrong

Backward frees the tensors that the graph saved as it goes. A second pass over any part of the same graph finds them
gone: `Trying to backward through the graph a second time (or directly access saved tensors after they have already
been freed)`. It need not be the same loss: two losses on one trunk share the trunk's graph, and a loop that computes
its features once, outside, walks their graph in every iteration.

Where nothing was saved, as in a sum, torch says nothing and the gradients double.

## Examples

```python
import torch


def two_losses(model, x, y, criterion):
    out = model(x)
    criterion(out, y).backward()
    out.pow(2).mean().backward()  # error
```

```python
import torch


def fit(model, x, y, criterion, epochs):
    out = model(x)
    for _ in range(epochs):
        criterion(out, y).backward()  # error
```

## Use instead

Add the losses up, compute anew what is walked again, or detach what is not to be trained; `retain_graph=True` is for
when all of this is impossible:

```python
import torch


def two_losses(model, x, y, criterion):
    out = model(x)
    loss = criterion(out, y) + out.pow(2).mean()
    loss.backward()
```

```python
import torch


def fit(model, x, y, criterion, epochs):
    for _ in range(epochs):
        out = model(x)
        criterion(out, y).backward()
```

## Known limits

Only graphs are followed that hold a module's forward, or an operation on tensors in sight that surely saves one, and
only where every path and every operation on the way is known to keep it. A pass with `retain_graph` or `create_graph`,
whatever their value, is taken to keep the graph. The values of a dict that a module returns are taken to be one, or to
have a graph each.

```python
import torch


def retained(model, x, first, second):
    out = model(x)
    first(out).backward(retain_graph=True)
    second(out).backward()
```

Of `create_graph` and `retain_graph` that are different conditions only those are reported of which the source says that
the first may hold without the second.

There is no fix: which of the two passes should go, or what should be detached, is not written in the code.

## Runtime check

```python
# raises: RuntimeError "backward through the graph a second time"
two_losses(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.ones(2, 4), torch.zeros(2, 4), nn.MSELoss())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

CONTRADICTION = "`{call}` frees the graph that its gradient needs: `create_graph` holds where `retain_graph` does not"
RETURNED = "`{call}` frees the graph of `{source}`, on which what `forward` returns depends"
DETACH = "detach what the inner loss is computed from"
LEAVE_OUT = "leave out `retain_graph`: it is what `create_graph` is"


class BackwardTwice(Rule):
    """Backward passes over a freed graph."""

    code = "GRD401"
    name = "backward-twice"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` walks the graph of `{source}` again, {when}"
    help = "add the losses up and go backward once, detach what is not to be trained, or retain the graph"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report passes over what an earlier pass, or the same one in the iteration before, has freed."""
        for again in facts.walked_twice:
            if again.returned:
                yield self.finding(
                    again.span, again.because, message=RETURNED, help=DETACH, call=again.call, source=again.source
                )
            elif not again.carried:
                when = "which the iteration before has freed" if again.loop else "which another pass has freed"
                yield self.finding(again.span, again.because, call=again.call, source=again.source, when=when)
        for odd in facts.odd_passes:
            if odd.form == "freed":
                yield self.finding(odd.span, odd.because, message=CONTRADICTION, help=LEAVE_OUT, call=odd.call)
