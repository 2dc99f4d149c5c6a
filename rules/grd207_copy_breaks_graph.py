"""A new tensor is made of values on the graph, so that no gradient comes back from it.

## Why this is wrong

`torch.tensor(...)`, `torch.FloatTensor([...])` and `t.new_tensor(...)` copy numbers. The copy is a new leaf without a
graph. torch warns once that `torch.tensor(t)` is rather `t.detach().clone()`, and not at all for a list of losses. If
all of the loss comes from the copy, backward raises `element 0 of tensors does not require grad and does not have a
grad_fn`; a single term is lost silently.

`torch.stack` and `torch.cat` put tensors together and keep their graphs.

## Examples

```python
import torch


def step(model, loader, criterion):
    losses = []
    for x, y in loader:
        losses.append(criterion(model(x), y))
    loss = torch.tensor(losses).mean()  # error
    loss.backward()
```

```python
import torch


def step(model, x, y, criterion):
    out = model(x)
    penalty = torch.tensor(out.abs().mean())  # error
    loss = criterion(out, y) + penalty
    loss.backward()
```

## Use instead

```python
import torch


def step(model, loader, criterion):
    losses = []
    for x, y in loader:
        losses.append(criterion(model(x), y))
    loss = torch.stack(losses).mean()
    loss.backward()
```

## Known limits

Copies of inputs, targets and numbers are legal, and so are copies that are logged. `torch.as_tensor(t)` of a tensor is
that tensor:

```python
import torch
import torch.nn.functional as F


def step(model, x, y):
    weights = torch.tensor([1.0, 2.0])
    terms = torch.stack([F.mse_loss(torch.as_tensor(model(x)), y), model(x).abs().mean()])
    loss = (weights * terms).sum()
    loss.backward()
    return torch.tensor([loss])
```

A copy that is made a leaf by `requires_grad=True` belongs to another rule.

## Fix safety

The fix writes `torch.stack` for a list, and the tensor itself for a single one. The gradient goes through from then on,
which changes training: it is unsafe. There is none where a dtype or a device is given, and none for other factories.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
step(nn.Linear(4, 1), [(torch.ones(2, 4), torch.zeros(2, 1))] * 2, nn.MSELoss())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import detaching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import LostGraph
    from gradlint.fix import Source


class CopyBreaksGraph(Rule):
    """A copy without a graph on the way to the loss."""

    code = "GRD207"
    name = "copy-breaks-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` copies the numbers of `{name}` on the way to the loss, not the graph: {effect}"
    help = "put tensors together by `torch.stack` or `torch.cat`, and use a single one as it is"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report copies, without a graph, of what the loss is computed from."""
        for cut in facts.lost_graphs:
            if cut.kind == "copy":
                effect = "backward raises" if cut.whole else "it adds nothing to any gradient"
                name = cut.name or "the tensors"
                yield self.finding(cut.span, cut.because, fact=cut, call=cut.call, name=name, effect=effect)

    def fix(self, fact: LostGraph, source: Source) -> Fix:
        """Keep the graph of what is copied."""
        return Fix(Safety.UNSAFE, "keep the graph", detaching.kept(source, fact))
