"""`forward` of a module is called, rather than the module itself.

## Why this is wrong

A module is called through `__call__`, which runs the hooks that are registered on it and then `forward`. Hooks do more
than logging: weight and spectral norm, pruning, activation capture, and the wrappers of distributed training work by
them. `module.forward(x)` goes past all that, without a word.

## Examples

```python
import torch
from torch import nn


def halved(x):
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, args, out: out / 2)
    return layer.forward(x)  # error
```

## Use instead

```python
import torch
from torch import nn


def halved(x):
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, args, out: out / 2)
    return layer(x)
```

## Known limits

A method that calls `self.forward(...)` or `super().forward(...)` is inside of a call already, most likely, and is left
alone, as is a function that puts another one in the place of `forward`. What only its name tells to be a module, and
what is called in a hook, which would call itself without end, is reported as possible, and hidden by default:

```python
from torch import nn


class Twice(nn.Linear):
    def forward(self, x):
        return super().forward(super().forward(x))
```

## Fix safety

The fix takes `.forward` out. What changes is that hooks run, as they were meant to: it is safe.

## Runtime check

```python
# shows: torch.equal(halved(x), once(x))
x = torch.ones(2, 4)
torch.manual_seed(0)
outs = []


def once(x):
    torch.manual_seed(0)
    return nn.Linear(4, 4)(x)


seeded = halved


def halved(x):
    torch.manual_seed(0)
    return seeded(x)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import calling
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.functions import DirectForward
    from gradlint.fix import Source


class ForwardCalledDirectly(Rule):
    """A call that goes past the hooks."""

    code = "GRD614"
    name = "forward-called-directly"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.CERTAIN
    message = "`{module}.forward(...)` goes past the hooks of the module"
    help = "call the module: `{module}(...)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls of another module's `forward`."""
        for fact in facts.direct_forwards:
            known = Certainty.LIKELY if fact.known else Certainty.POSSIBLE
            certainty = Certainty.CERTAIN if fact.sure else known
            yield self.finding(fact.span, fact=fact, certainty=certainty, module=fact.module)

    def fix(self, fact: DirectForward, source: Source) -> Fix:
        """Call the module."""
        return Fix(Safety.SAFE, "call the module", calling.through_hooks(source, fact))
