"""A stored gradient-mode object is entered while it is in force already.

## Why this is wrong

`torch.no_grad()` remembers in itself which mode to bring back. Entered a second time inside of its own block, it
remembers "off", and leaving brings back "off", twice: gradients stay off behind the outer block, for good. Making a new
object for each `with`, or using one object for one block after the other, is fine.

## Examples

```python
import torch


def run(x):
    off = torch.no_grad()
    with off:
        y = x * 2
        with off:  # error
            y = y + 1
    return torch.is_grad_enabled()
```

## Use instead

```python
import torch


def run(x):
    with torch.no_grad():
        y = x * 2
        with torch.no_grad():
            y = y + 1
    return torch.is_grad_enabled()
```

## Known limits

Only blocks of one function are seen. One after the other is right:

```python
import torch


def run(x):
    off = torch.no_grad()
    with off:
        y = x * 2
    with off:
        return y + 1
```

## Runtime check

```python
# shows: not run(torch.ones(1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class ReentrantGradModeObject(Rule):
    """One `no_grad()` object in two blocks inside each other."""

    code = "GRD117"
    name = "reentrant-grad-mode-object"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.CERTAIN
    message = "`{name}` is entered inside of its own block: gradients stay off behind it"
    help = "write `with {context}():` in the inner block"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report objects that are entered twice at once."""
        for fact in facts.reentered:
            yield self.finding(fact.span, fact.because, name=fact.name, context=fact.context)
