"""A module is put in eval mode inside of the loop that trains it, and never back.

## Why this is wrong

`eval()` stays in force until somebody calls `train()`. With one `train()` in front of the loop and an evaluation inside
of it, the model trains with dropout and batch norm switched on in the first epoch only. From the second on it trains in
eval mode: nothing is dropped, the running statistics stand still, and nothing says so.

## Examples

```python
import torch


def fit(model, train_loader, val_loader, criterion, optimizer, epochs):
    model.train()
    for _ in range(epochs):
        for x, y in train_loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()  # error
        with torch.no_grad():
            for x, y in val_loader:
                print(criterion(model(x), y).item())
```

## Use instead

```python
import torch


def fit(model, train_loader, val_loader, criterion, optimizer, epochs):
    for _ in range(epochs):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, y in val_loader:
                print(criterion(model(x), y).item())
```

## Known limits

Eval mode before the first training step is taken for a choice, as in fine-tuning with fixed statistics:

```python
import torch


def finetune(model, loader, criterion, optimizer):
    model.eval()
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

Any call of `train()` in the loop, of whatever module, keeps the rule silent. So does the call of a function whose name
speaks of training, unless it is in the same file and calls no `train()`, and a module all of whose layers are in sight
and compute the same in both modes.

## Fix safety

The fix calls `train()` where the loop begins. Training changes: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: not model.training
model = nn.Sequential(nn.Linear(2, 1), nn.Dropout())
batches = [(torch.ones(3, 2), torch.ones(3, 1))]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
wanted = []
model[0].register_forward_hook(lambda layer, given, made: wanted.append(layer.training))
fit(model, batches, [], nn.MSELoss(), optimizer, 2)
model.train(wanted[-1])
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import switching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, modes
    from gradlint.fix import Source


class StuckInEval(Rule):
    """`eval()` in a training loop without a `train()`."""

    code = "GRD121"
    name = "stuck-in-eval"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` puts `{module}` in eval mode, and the loop goes on training it"
    help = "call `{module}.train()` where each round of training begins"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report modules that are trained in eval mode."""
        for fact in facts.stuck_in_eval:
            yield self.finding(fact.span, fact.because, fact=fact, call=fact.call, module=fact.module)

    def fix(self, fact: modes.StuckInEval, source: Source) -> Fix:
        """Put the module back in train mode."""
        return Fix(Safety.UNSAFE, f"call `{fact.module}.train()` in the loop", switching.trained(source, fact))
