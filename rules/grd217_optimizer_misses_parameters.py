"""An optimizer does not have the parameters that should be trained.

## Why this is wrong

An optimizer keeps the tensors that it was given. A layer that replaces another afterwards, `load_state_dict(...,
assign=True)`, which puts new parameters in place of the old, and parameters that were frozen when the optimizer picked
those that require grad, are not among them. They get gradients, and no step ever changes them.

`p.data`, `p.detach()` and the values of a `state_dict()` are other tensors than the parameters: they never get a
gradient, and every step skips them. Torch accepts them all.

## Examples

```python
import torch
from torch import nn


def finetune(model, loader, criterion):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.fc = nn.Linear(4, 2)  # error
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model.fc(x), y).backward()
        optimizer.step()
```

```python
import torch


def unfreeze(model, x):
    model.backbone.requires_grad_(False)
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1)
    for epoch in range(4):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        if epoch == 2:
            model.backbone.requires_grad_(True)  # error
```

```python
import torch


def copies(model, x):
    optimizer = torch.optim.SGD([p.data for p in model.parameters()], lr=0.1)  # error
    model(x).sum().backward()
    optimizer.step()
```

## Use instead

```python
import torch
from torch import nn


def finetune(model, loader, criterion):
    model.fc = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model.fc(x), y).backward()
        optimizer.step()
```

## Known limits

Only what one function does is followed, and only modules whose parameters the optimizer was seen to take. An optimizer
that is made anew or is told by `add_param_group`, moving a module by `to()`, frozen parameters in the optimizer, and
lazy layers that get their shape later are all right:

```python
import torch
from torch import nn


def told(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.fc = nn.Linear(4, 2)
    optimizer.add_param_group({"params": model.fc.parameters()})
    model.to(torch.float64)
    return optimizer
```

## Runtime check

```python
# shows: len(seen) > 0
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)


seen, model = [], Net()
optimizer_step = torch.optim.SGD.step
torch.optim.SGD.step = lambda self, *a: seen.extend(p for g in self.param_groups for p in g["params"] if p.grad is None)
finetune(model, [(torch.ones(3, 4), torch.zeros(3, 2))], nn.MSELoss())
torch.optim.SGD.step = optimizer_step
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


MESSAGES = {
    "assigned": "`assign=True` puts new parameters into `{name}`, and `{optimizer}` keeps the old ones",
    "thawed": "`{name}` is made trainable after `{optimizer}` took only what required grad: it is never stepped",
    "untracked": "`{optimizer}` is given `{name}`, which is no leaf that requires grad: it trains nothing",
}


class OptimizerMissesParameters(Rule):
    """Parameters that come to be behind the back of an optimizer."""

    code = "GRD217"
    name = "optimizer-misses-parameters"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` is new, and `{optimizer}` has taken its parameters before: it is never trained"
    help = "make the optimizer afterwards, or give it the parameters by `add_param_group`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what an optimizer was not given, or was given in place of parameters."""
        for fact in facts.unowned:
            help_ = "give it the parameters themselves" if fact.form == "untracked" else None
            message = MESSAGES.get(fact.form)
            yield self.finding(
                fact.span, fact.because, message=message, help=help_, name=fact.name, optimizer=fact.optimizer
            )
