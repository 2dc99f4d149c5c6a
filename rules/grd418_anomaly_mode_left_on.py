"""Anomaly detection is switched on by a plain call, and stays on.

## Why this is wrong

In this mode every operation records a traceback, and backward checks every gradient for NaN. Training takes several
times as long. As a statement the call switches it on for the whole process, until somebody calls it again.

## Examples

```python
import torch


def train(model, x):
    torch.autograd.set_detect_anomaly(True)  # error
    model(x).sum().backward()
```

## Use instead

```python
import torch


def train(model, x):
    with torch.autograd.set_detect_anomaly(True):
        model(x).sum().backward()
```

## Known limits

Only a constant `True` is reported, not a flag from outside; and nothing in tests.

```python
import torch


def train(model, x, debug=False):
    torch.autograd.set_detect_anomaly(debug)
    model(x).sum().backward()
```

## Fix safety

The fix switches the mode off instead. Code that is meant to stop at a NaN would go on: it is unsafe and never applied
unasked.

## Runtime check

```python
# shows: torch.is_anomaly_enabled()
train(nn.Linear(4, 1), torch.ones(3, 4))
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


class AnomalyModeLeftOn(Rule):
    """Anomaly detection that is switched on for good."""

    code = "GRD418"
    name = "anomaly-mode-left-on"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{call}(True)` switches anomaly detection on for the whole process"
    help = "use it as a block, `with {call}(True):`, or take it out"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls that switch it on, as statements, with a constant."""
        for odd in facts.odd_passes:
            if odd.form == "anomaly":
                yield self.finding(odd.span, odd.because, fact=odd, call=odd.call)

    def fix(self, fact: OddPass, source: Source) -> Fix:
        """Switch it off."""
        return Fix(Safety.UNSAFE, "switch it off", asking_for.without_anomalies(source, fact))
