"""A generator expression, `map` or lambda is made with gradients off, and runs where they are on.

## Why this is wrong

A gradient mode covers what *runs* in its block. A generator expression and `map` call the model when somebody iterates
over them, a lambda or an inner function when it is called: behind the block gradients are on again, and every forward
records a graph. A list comprehension runs at once.

## Examples

```python
import torch


def predict(model, parts):
    with torch.no_grad():
        outputs = (model(part) for part in parts)  # error
    return list(outputs)
```

```python
import torch


def embed(model, parts):
    with torch.no_grad():
        return map(model, parts)  # error
```

## Use instead

```python
import torch


def predict(model, parts):
    with torch.no_grad():
        outputs = [model(part) for part in parts]
    return list(outputs)
```

or turn gradients off in the function that runs:

```python
import torch


def predictor(model, x):
    predict = torch.no_grad()(lambda batch: model(batch))
    return predict(x)
```

## Known limits

Reported is what runs a module, or computes with a tensor that requires grad, and visibly runs outside of the block in
the same function, or is returned from it. Nothing is reported in a function that goes backward. What is handed to code
out of sight may run anywhere:

```python
import torch


def start(model, parts, queue):
    with torch.no_grad():
        outputs = (model(part) for part in parts)
    queue.put(outputs)
```

## Runtime check

```python
# shows: predict(nn.Linear(2, 1), [torch.ones(1, 2)])[0].requires_grad
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class LazyValueEscapesGradMode(Rule):
    """Lazy code that leaves the block with gradients off."""

    code = "GRD110"
    name = "lazy-value-escapes-grad-mode"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "this {kind} is made with gradients off, and runs where they are on"
    help = "run it inside of the block, for example as a list, or turn gradients off where it runs"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report code that runs outside of the block in which it is made."""
        for fact in facts.lazy_escapes:
            yield self.finding(fact.span, fact.because, kind=fact.kind)
