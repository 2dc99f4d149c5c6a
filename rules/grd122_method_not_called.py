"""A method is named and not called, or overwritten where it should be called.

## Why this is wrong

`model.eval` without parentheses looks the method up and drops it. The model stays in train mode, `loss.backward`
computes no gradient, `optimizer.step` changes no weight, and nothing says so. `model.eval = True` replaces the method
by a bool: the next `model.eval()` raises `TypeError: 'bool' object is not callable`. `model.training = False` sets the
flag of this one module only: the dropout inside goes on dropping.

## Examples

```python
import torch


def predict(model, x):
    model.eval  # error
    with torch.no_grad():
        return model(x)
```

```python
import torch


def load(model, path):
    model.load_state_dict(torch.load(path))
    model.training = False  # error
    return model
```

## Use instead

```python
import torch


def predict(model, x):
    model.eval()
    with torch.no_grad():
        return model(x)
```

```python
import torch


def load(model, path):
    model.load_state_dict(torch.load(path))
    model.eval()
    return model
```

## Known limits

A class that sets its own flag, code that sets the flags of all parts, and methods that are handed on are right:

```python
import torch


def freeze_statistics(model):
    for part in model.modules():
        part.training = False
```

`train`, `eval` and `step` count only on what is a module or an optimizer, or is called like one.

## Fix safety

The fix adds the parentheses, or calls the method in place of the assignment. It does what the line says: it is safe.
Where `training` is assigned, the fix changes the mode of the parts as well, and is unsafe.

## Runtime check

```python
# shows: model.training
model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
predict(model, torch.ones(1, 2))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import switching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import NotCalled
    from gradlint.fix import Source


MESSAGES = {
    "named": "`{written}` is never called: the statement does nothing",
    "replaced": "`{written}` replaces the method",
    "flag": "`{written}` sets the flag of this module only, not that of its parts",
}


class MethodNotCalled(Rule):
    """`model.eval` and its like as statements, `model.eval = True`, `model.training = False`."""

    code = "GRD122"
    name = "method-not-called"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{written}` calls nothing"
    help = "write `{instead}`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report statements that name a method without calling it."""
        for fact in facts.not_called:
            certainty = Certainty.CERTAIN if fact.sure else Certainty.LIKELY
            yield self.finding(
                fact.span,
                fact=fact,
                certainty=certainty,
                message=MESSAGES[fact.form],
                written=fact.written,
                instead=fact.instead,
            )

    def fix(self, fact: NotCalled, source: Source) -> Fix:
        """Call the method."""
        safety = Safety.SAFE if fact.sure else Safety.UNSAFE
        return Fix(safety, f"write `{fact.instead}`", switching.called(source, fact))
