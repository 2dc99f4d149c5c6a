"""A dataset or a collate function hands out tensors with their graph.

## Why this is wrong

The loader batches items with `torch.stack(..., out=...)` in its workers, which raises `functions with out=... arguments
don't support automatic differentiation`. Unbatched items cannot be sent to the main process at all: the worker prints
`Cowardly refusing to serialize non-leaf tensor which requires_grad`, and the loop waits for ever. Without workers
nothing raises, and every batch keeps the graph of what made it.

## Examples

```python
import torch
from torch import nn
from torch.utils.data import Dataset


class Embedded(Dataset):
    def __init__(self, items):
        self.items = items
        self.encoder = nn.Linear(4, 2)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.encoder(self.items[index])  # error
```

## Use instead

```python
import torch
from torch import nn
from torch.utils.data import Dataset


class Embedded(Dataset):
    def __init__(self, items):
        self.items = items
        self.encoder = nn.Linear(4, 2)

    def __len__(self):
        return len(self.items)

    @torch.no_grad()
    def __getitem__(self, index):
        return self.encoder(self.items[index])
```

## Known limits

Datasets are known by the names of their base classes, collate functions by their own. What comes from another file, or
from a module that is frozen somewhere, is silent:

```python
import torch
from torch import nn
from torch.utils.data import Dataset


class Embedded(Dataset):
    def __init__(self, items):
        self.items = items
        self.encoder = nn.Linear(4, 2).requires_grad_(False)

    def __getitem__(self, index):
        return self.encoder(self.items[index])
```

## Fix safety

The fix puts `torch.no_grad()` above the function. Whoever meant to train what the dataset uses would get no gradient:
it is unsafe and never applied unasked.

## Runtime check

```python
# shows: next(iter(torch.utils.data.DataLoader(Embedded(torch.ones(3, 4))))).requires_grad
pass
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
    from gradlint.facts.targets import TrackedItem
    from gradlint.fix import Source


class DatasetReturnsGraph(Rule):
    """Items and batches on the graph."""

    code = "GRD419"
    name = "dataset-returns-graph"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "what `{source}` makes is handed out with its graph, which a loader's worker cannot send"
    help = "decorate the function with `@torch.no_grad()`, or detach what it returns"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report items of datasets, and batches, that are on the graph."""
        for item in facts.tracked_items:
            yield self.finding(item.span, item.because, fact=item, source=item.source)

    def fix(self, fact: TrackedItem, source: Source) -> Fix:
        """Turn gradients off in the whole function."""
        return Fix(Safety.UNSAFE, "turn gradients off in the function", modes.guarded_whole(source, fact.span))
