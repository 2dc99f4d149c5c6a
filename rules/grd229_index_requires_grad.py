"""`requires_grad` is cleared on indices, in the belief that it keeps the embedding from being trained.

## Why this is wrong

Indices are integers, and integers never require grad: `requires_grad=False` says what is so anyway. Whether the result
of an embedding is on the graph depends on its weight alone. So the lookup is tracked, backward goes through it, and the
optimizer changes the rows that were looked up.

## Examples

```python
import torch
from torch import nn


def look_up(count):
    embedding = nn.Embedding(count, 4)
    indices = torch.tensor([1, 2], requires_grad=False)  # error
    return embedding(indices)
```

## Use instead

Freeze the weight, or compute it with gradients off:

```python
import torch
from torch import nn


def look_up(count):
    embedding = nn.Embedding(count, 4)
    embedding.weight.requires_grad_(False)
    return embedding(torch.tensor([1, 2]))


def look_up_for_now(embedding):
    with torch.no_grad():
        return embedding(torch.tensor([1, 2]))
```

## Known limits

Reported only where the indices and an embedding of torch meet in one function, and the result surely is on the graph.
The flag of a `Variable` is a leftover of old code and silent. There is no fix: to leave the flag out changes nothing,
and whether the embedding should be frozen only you know.

```python
import torch
from torch import nn
from torch.autograd import Variable


def look_up(count):
    embedding = nn.Embedding(count, 4)
    return embedding(Variable(torch.tensor([1, 2]), requires_grad=False))
```

## Runtime check

```python
# shows: look_up(5).requires_grad
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class IndexRequiresGrad(Rule):
    """A flag on indices that is meant for the embedding."""

    code = "GRD229"
    name = "index-requires-grad"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.CERTAIN
    message = "`{name}` holds indices, which never require grad: the embedding is trained all the same"
    help = "freeze the weight of the embedding if it should not be trained, and leave the flag out"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report flags that are cleared on the indices of an embedding."""
        for fact in facts.index_flags:
            yield self.finding(fact.span, fact.because, name=fact.name)
