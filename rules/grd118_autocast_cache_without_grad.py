"""A module runs with gradients off and then for training in one autocast region.

## Why this is wrong

Autocast casts each weight once per region and keeps the copy. Up to torch 2.9 a copy that was made under `no_grad` has
no history, and the forward for training that comes second uses it: its weights get no gradient, without an error.
From torch 2.10 on the copies are always made with gradients on, so the rule runs only where the setting
`torch-version`, the oldest torch that the code must run on, names one before that.

## Examples

```python
import torch
import torch.nn.functional as F


def train_step(model, x, optimizer):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            wanted = model(x)
        loss = F.mse_loss(model(x + 0.1), wanted)  # error
    loss.backward()
    optimizer.step()
```

## Use instead

```python
import torch
import torch.nn.functional as F


def train_step(model, x, optimizer):
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        with torch.no_grad():
            wanted = model(x)
        loss = F.mse_loss(model(x + 0.1), wanted)
    loss.backward()
    optimizer.step()
```

or a region of its own for the forward without gradients:

```python
import torch
import torch.nn.functional as F


def train_step(model, x, optimizer):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.mse_loss(model(x + 0.1), wanted)
    loss.backward()
    optimizer.step()
```

## Known limits

Both forwards must stand in one function, in one `with`. A region around the call of a function is not seen in it:

```python
import torch
import torch.nn.functional as F


def loss_of(model, x):
    with torch.no_grad():
        wanted = model(x)
    return F.mse_loss(model(x + 0.1), wanted)


def train_step(model, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, x)
    loss.backward()
```

## Fix safety

The fix switches the region's cache off, which costs one more cast of each weight. It is unsafe, since it changes how
fast the region runs.

## Runtime check

With an installed torch that does it right, what can be shown is that the forward for training uses the cache:

```python
# shows: cached == [True, True]
cached = []
net = nn.Linear(4, 2)
net.register_forward_hook(lambda *given: cached.append(torch.is_autocast_cache_enabled()))
train_step(net, torch.ones(3, 4), torch.optim.SGD(net.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import arguments
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import CachedCast
    from gradlint.fix import Source


class AutocastCacheWithoutGrad(Rule):
    """The cache of an autocast region that was filled under `no_grad`."""

    code = "GRD118"
    name = "autocast-cache-without-grad"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    until = "2.10"
    message = "`{call}` may use casts of its weights that the autocast region has kept from a forward without gradients"
    help = "run the forward without gradients in a region of its own, or pass `cache_enabled=False`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report forwards for training behind one without gradients."""
        for fact in facts.cached_casts:
            yield self.finding(fact.span, fact.because, fact=fact, call=fact.call)

    def fix(self, fact: CachedCast, source: Source) -> Fix:
        """Switch the cache off."""
        return Fix(Safety.UNSAFE, "switch the region's cache off", arguments.without_cache(source, fact))
