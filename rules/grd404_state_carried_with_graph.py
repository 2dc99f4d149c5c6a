"""A state, a sum or a list is handed to the next iteration with its graph, which backward has freed.

## Why this is wrong

The state that a recurrent network returns hangs on the graph of the step that computed it. Given to the next step it
joins both graphs, so that the next backward walks into the one that was freed: `Trying to backward through the graph a
second time`. The same holds for a sum of losses, a list or a queue of features from which every iteration goes
backward, and for what a module keeps in an attribute from one call to the next: also for what it computes from its
weights once, in the constructor or in the first call. With `retain_graph=True` nothing is freed, and every step walks
through all steps before it: memory and time grow without end, and after the first optimizer step the saved weights are
no longer what they were.

## Examples

```python
import torch
from torch import nn


def train(loader):
    rnn = nn.RNN(4, 4)
    hidden = None
    for x, _y in loader:
        out, hidden = rnn(x, hidden)
        out.sum().backward()  # error
```

```python
import torch


def accumulate(model, loader, criterion):
    total = 0.0
    for x, y in loader:
        total += criterion(model(x), y)
        total.backward(retain_graph=True)  # error
```

```python
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 4)
        self.hidden = None

    def forward(self, x):
        out, self.hidden = self.rnn(x, self.hidden)  # error
        return out
```

## Use instead

```python
import torch
from torch import nn


def train(loader):
    rnn = nn.RNN(4, 4)
    hidden = None
    for x, _y in loader:
        out, hidden = rnn(x, hidden)
        out.sum().backward()
        hidden = hidden.detach()
```

## Known limits

Only what is taken off the graph on no path is reported: what a function of its own may detach is silent. An attribute
is reported only where one method alone reads and writes it, `forward` or one that goes backward itself, in a class
without a method that sets states back: others may begin a sequence, and detach it then.

```python
import torch
from torch import nn


def train(loader, repackage):
    rnn = nn.LSTM(4, 4)
    state = None
    for x, _y in loader:
        out, state = rnn(x, state)
        out.sum().backward()
        state = repackage(state)
```

There is no fix: whether the graph should end at every step, or backward run once at the end, is not written in the
code.

## Runtime check

```python
# raises: RuntimeError "backward through the graph a second time"
train([(torch.ones(3, 1, 4), None)] * 2)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class StateCarriedWithGraph(Rule):
    """State that is carried to the next iteration undetached."""

    code = "GRD404"
    name = "state-carried-with-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` carries the graph of `{source}` to the next {turn}, where {walker} walks into it again"
    help = "detach it between the iterations: `{name} = {name}.detach()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report passes that walk, through a variable, into the graph of the iteration before."""
        for again in facts.walked_twice:
            if again.carried:
                turn, walker = ("iteration", f"`{again.call}`") if again.call else ("call", "the next backward")
                yield self.finding(
                    again.span, again.because, name=again.carried, source=again.source, turn=turn, walker=walker
                )
