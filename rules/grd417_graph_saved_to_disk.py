"""A tracked loss or output is put into a checkpoint.

## Why this is wrong

A graph cannot be saved. What is on it comes back as a *leaf* that requires grad: with no graph behind it, on the device
that it was on, and ready to be differentiated by mistake. Until then it holds the memory of the graph while the file is
written. A number, or a detached tensor, is what is meant.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer, path):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "loss": loss}, path)  # error
```

## Use instead

```python
import torch


def train(model, loader, criterion, optimizer, path):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "loss": loss.item()}, path)
```

## Known limits

Only what is known to be on the graph is reported, where it stands in the call, or in a dict or list that is saved. A
parameter is a leaf and comes back as it was; some rows of a weight are a result like others.

```python
import torch


def checkpoint(model, loss, path):
    torch.save({"model": model.state_dict(), "loss": loss}, path)
```

## Fix safety

The fix saves `.detach()`. Code that loads the value and relies on its `requires_grad` would find it off: it is unsafe
and never applied unasked.

## Runtime check

```python
# shows: torch.load(file)["loss"].requires_grad if rewound(file) else False
import io


def rewound(file):
    file.seek(0)
    return isinstance(torch.load(file)["loss"], torch.Tensor) and file.seek(0) == 0


file = io.BytesIO()
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
train(model, [(torch.ones(3, 2), torch.zeros(3, 1))], nn.MSELoss(), optimizer, file)
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


class GraphSavedToDisk(Rule):
    """Tracked values in a checkpoint."""

    code = "GRD417"
    name = "graph-saved-to-disk"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{call}` is saved with `requires_grad`, but without its graph"
    help = "save `{call}.detach()`, or a number"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what is saved and known to be on the graph."""
        for odd in facts.odd_passes:
            if odd.form == "saved":
                yield self.finding(odd.span, odd.because, fact=odd, call=odd.call)

    def fix(self, fact: OddPass, source: Source) -> Fix:
        """Save it detached."""
        return Fix(Safety.UNSAFE, "save it detached", asking_for.detached(source, fact))
