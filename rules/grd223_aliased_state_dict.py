"""The best weights are kept by `state_dict()` without a copy, while training goes on.

## Why this is wrong

`state_dict()` returns the very tensors that the optimizer updates, detached but not copied. What was kept as the best
epoch follows every later step, and loading it at the end changes nothing: the weights are those of the last epoch.
`dict(...)`, `.copy()` and, on a CPU, `.cpu()` share the memory as well.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer, epochs):
    best, best_loss = None, float("inf")
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        if loss.item() < best_loss:
            best_loss = loss.item()
            best = model.state_dict()  # error
    model.load_state_dict(best)
```

## Use instead

```python
import copy

import torch


def train(model, loader, criterion, optimizer, epochs):
    best, best_loss = None, float("inf")
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        if loss.item() < best_loss:
            best_loss = loss.item()
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
```

## Known limits

Only variables of one function are followed. Saving or loading at once, before training goes on, is right:

```python
import torch


def train(model, teacher, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        weights = model.state_dict()
        teacher.load_state_dict(weights)
```

## Fix safety

The fix clones every tensor of the dictionary. It takes memory, and what else relied on the shared weights sees a copy:
it is unsafe and never applied unasked.

## Runtime check

```python
# shows: model.weight.item() != kept
model = nn.Linear(1, 1, bias=False)
nn.init.ones_(model.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=1.5)
train(model, [(torch.ones(1, 1), torch.zeros(1, 1))], nn.MSELoss(), optimizer, 1)
kept = model.weight.item()
nn.init.ones_(model.weight)
train(model, [(torch.ones(1, 1), torch.zeros(1, 1))], nn.MSELoss(), optimizer, 3)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import leaves
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import AliasedState
    from gradlint.fix import Source


class AliasedStateDict(Rule):
    """Weights that are kept by reference while training goes on."""

    code = "GRD223"
    name = "aliased-state-dict"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` is no copy: it follows the weights of `{model}` as training goes on"
    help = "keep `copy.deepcopy({model}.state_dict())`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report weights that are kept without a copy across training."""
        for fact in facts.aliased_states:
            yield self.finding(fact.span, fact.because, fact=fact, name=fact.name, model=fact.model)

    def fix(self, fact: AliasedState, source: Source) -> Fix:
        """Keep clones."""
        return Fix(Safety.UNSAFE, "keep clones", leaves.cloned(source, fact))
