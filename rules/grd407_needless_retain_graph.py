"""`retain_graph=True` is given to a backward whose graph is made anew in every iteration.

## Why this is wrong

The flag keeps what the graph has saved, for another pass over it. Where every iteration makes a graph of its own and
goes backward once, there is no other pass: the saved tensors stay in memory until the loss is overwritten, and the
error that would tell of a graph that is walked by mistake, because a state was not detached, is silenced.

## Examples

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward(retain_graph=True)  # error
        optimizer.step()
```

## Use instead

```python
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
```

## Known limits

Only the plain case is reported: one backward in the function, and nothing behind it that was made outside of the loop
or that may be carried from the iteration before.

```python
import torch


def fit(model, x, criterion, targets):
    out = model(x)
    for y in targets:
        criterion(out, y).backward(retain_graph=True)
```

## Fix safety

The fix switches the flag off. Code that is not in sight and goes backward from the same graph would fail: it is unsafe
and never applied unasked.

## Runtime check

```python
# shows: walked_again(kept[0])
kept = []


class Keeping(nn.MSELoss):
    def forward(self, out, y):
        kept.append(super().forward(out, y))
        return kept[-1]


def walked_again(loss):
    try:
        loss.backward()
    except RuntimeError:
        return False
    return True


model = nn.Linear(2, 1)
train(model, [(torch.ones(3, 2), torch.zeros(3, 1))], Keeping(), torch.optim.SGD([torch.zeros(1)], lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import asking_for
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, OddPass
    from gradlint.fix import Source


class NeedlessRetainGraph(Rule):
    """`retain_graph=True` that nothing uses."""

    code = "GRD407"
    name = "needless-retain-graph"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{call}` retains a graph that nothing walks again"
    help = "leave `retain_graph` out"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report passes that retain what the next iteration makes anew."""
        for odd in facts.odd_passes:
            if odd.form == "needless":
                yield self.finding(odd.span, odd.because, fact=odd, call=odd.call)

    def fix(self, fact: OddPass, source: Source) -> Fix:
        """Let the graph be freed."""
        return Fix(Safety.UNSAFE, "let the graph be freed", asking_for.freed(source, fact))
