"""One iterator over parameters is used twice: the second time it is empty.

## Why this is wrong

`model.parameters()` returns an iterator. An optimizer, `clip_grad_norm_` and a loop run it to its end; whoever gets it
afterwards sees no parameters. Clipping then clips nothing and only warns, a loop is left out in silence, and a second
optimizer raises `ValueError: optimizer got an empty parameter list`. In a parameter group the list is empty in silence.

## Examples

```python
import torch


def train(model, loader, criterion):
    params = model.parameters()
    optimizer = torch.optim.SGD(params, lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)  # error
        optimizer.step()
```

## Use instead

```python
import torch


def train(model, loader, criterion):
    params = list(model.parameters())
    optimizer = torch.optim.SGD(params, lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
```

## Known limits

Only iterators in variables are followed, and only uses that torch or Python itself are known to run to the end. A loop
that is left early, and a name that is given a new iterator, are silent:

```python
import torch


def first_and_all(model):
    params = model.parameters()
    for p in params:
        device = p.device
        break
    params = model.parameters()
    return torch.optim.SGD(params, lr=0.1), device
```

## Fix safety

The fix writes `list(...)` around the call that makes the iterator. It is safe: nothing else changes than that later
uses see the parameters.

## Runtime check

```python
# warns: UserWarning "empty generator"
model = nn.Linear(2, 1)
train(model, [(torch.ones(3, 2), torch.zeros(3, 1))], nn.MSELoss())
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
    from gradlint.facts.leaves import Exhausted
    from gradlint.fix import Source


class ExhaustedParameters(Rule):
    """One iterator over parameters, used twice."""

    code = "GRD222"
    name = "exhausted-parameters"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{name}` is empty here: the iterator that `{call}` returned was used up before"
    help = "keep `list({call})`, or call it anew"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report uses of an iterator over parameters that an earlier use has run to its end."""
        for fact in facts.exhausted:
            yield self.finding(fact.span, fact.because, fact=fact, name=fact.name, call=fact.call)

    def fix(self, fact: Exhausted, source: Source) -> Fix:
        """Keep a list."""
        return Fix(Safety.SAFE, "keep a list", leaves.listed(source, fact))
