"""A buffer made beforehand is filled, step by step, from what was put into it.

## Why this is wrong

`states[t] = self.step(states[t - 1])` writes to the tensor of which the step before has read a part. Layers save what
they read for backward, and the part that they saved is a view of the whole buffer: every write is an edit of what is
saved. Backward raises `RuntimeError: one of the variables needed for gradient computation has been modified by an
inplace operation`, far from the loop.

## Examples

```python
import torch
from torch import nn


class Unrolled(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.recurrent = nn.Linear(dim, dim)

    def step(self, state):
        return torch.tanh(self.recurrent(state))

    def forward(self, x, steps):
        states = torch.zeros(steps, *x.shape)
        states[0] = x
        for t in range(1, steps):
            states[t] = self.step(states[t - 1])  # error
        return states
```

## Use instead

A list, which is put together behind the loop:

```python
import torch
from torch import nn


class Unrolled(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.recurrent = nn.Linear(dim, dim)

    def step(self, state):
        return torch.tanh(self.recurrent(state))

    def forward(self, x, steps):
        states = [x]
        for _ in range(1, steps):
            states.append(self.step(states[-1]))
        return torch.stack(states)
```

## Known limits

The buffer must be made in the same function, outside of the loop, and read in it through a module or a function of the
file that calls one. Where it is known which operation saves the part, another rule reports the edit. Buffers that are
only written, and parts that are cloned, are legal:

```python
import torch


def unrolled(cell, x, steps):
    states = torch.zeros(steps, *x.shape)
    state = x
    for t in range(steps):
        state = cell(state)
        states[t] = state
    return states
```

## Fix safety

The fix clones the part that is read, which takes memory for every step: it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "modified by an inplace operation"
Unrolled(2)(torch.ones(2), 4).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import Recurrence
    from gradlint.fix import Source


class BufferRecurrence(Rule):
    """In-place edit of a buffer from which the layers before have read."""

    code = "GRD307"
    name = "buffer-recurrence"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{target}` is filled in a loop with what `{name}` computes from a part of it"
    help = "keep the steps in a list and stack them behind the loop, or clone the part that is read"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report buffers that a loop fills from themselves."""
        for recurrence in facts.recurrences:
            edit = recurrence.edit
            because = ((recurrence.read, "read, and saved for backward, here"), (edit.span, "edited here"))
            target, name = edit.target.name or "the buffer", recurrence.name or "a module"
            yield self.finding(edit.span, because, fact=recurrence, target=target, name=name)

    def fix(self, fact: Recurrence, source: Source) -> Fix:
        """Clone the part that is read."""
        _, _, line, column = fact.read
        return Fix(Safety.UNSAFE, "clone the part that is read", (source.insert(line, column, ".clone()"),))
