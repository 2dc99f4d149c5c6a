"""Everything that is trained here is frozen.

## Why this is wrong

A loss behind which no parameter requires grad has no graph: backward raises `element 0 of tensors does not require grad
and does not have a grad_fn`. An optimizer takes frozen parameters without a word and then steps nothing; one that is
given only those that require grad, of which none are left, raises `optimizer got an empty parameter list`. Mostly the
freeze was meant for a part, or stands behind the new head that it should have spared.

## Examples

```python
import torch
from torch import nn


def finetune(model, x, y):
    model.head = nn.Linear(4, 1)
    for p in model.parameters():
        p.requires_grad = False
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)  # error
    nn.functional.mse_loss(model.head(x), y).backward()
    optimizer.step()
```

## Use instead

Freeze first, then make what is to be trained, or thaw it:

```python
import torch
from torch import nn


def finetune(model, x, y):
    for p in model.parameters():
        p.requires_grad = False
    model.head = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    nn.functional.mse_loss(model.head(x), y).backward()
    optimizer.step()
```

## Known limits

Only what one function does is followed, with functions of the same file that freeze what they are given. Where anything
in the file thaws parameters, or gets the module to do with it what it likes, it may be right:

```python
import torch


def train(model, loader, criterion, prepare):
    model.requires_grad_(False)
    prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
```

## Runtime check

```python
# raises: RuntimeError "does not require grad"
finetune(nn.Module(), torch.ones(3, 4), torch.zeros(3, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

WHAT = {
    "optimizer": "`{call}` is given nothing but frozen parameters: nothing is left to train",
    "backward": "all parameters behind `{call}` are frozen: nothing is left to train, and it raises",
}


class NothingLeftToTrain(Rule):
    """Training of what is frozen as a whole."""

    code = "GRD225"
    name = "nothing-left-to-train"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = WHAT["optimizer"]
    help = "freeze `{name}` before that is made which is to be trained, or thaw that part of it afterwards"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report optimizers and backward passes with nothing but frozen parameters."""
        for fact in facts.nothing_left:
            yield self.finding(fact.span, fact.because, message=WHAT[fact.form], call=fact.call, name=fact.name)
