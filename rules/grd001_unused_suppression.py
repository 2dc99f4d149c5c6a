"""A suppression comment silences nothing.

## Why this is wrong

The mistake it was written for is gone, or the comment never reached it. Left alone, it will silence the next mistake
on that line, which nobody has looked at.

Only rules that ran are counted: a comment for a rule that is not selected, or is ignored for the file, is left alone.
In a shared `# noqa` only the codes of gradlint are looked at, and a `# noqa` without codes never is.

## Examples

```python
import torch


def score(model, x):
    with torch.no_grad():
        return model(x)  # gradlint: ignore[GRD101] -- there was a backward here once  # error
```

## Use instead

```python
import torch


def score(model, x):
    with torch.no_grad():
        return model(x)
```

## Known limits

Not reported for a file of which some part could not be analysed.

## Fix safety

The fix removes the comment, or the idle rule from its list. It is safe: nothing is silenced by it. A shared `# noqa` is
left alone.

## Runtime check

None: this rule makes no claim about autograd.
"""

from __future__ import annotations

from gradlint.finding import Certainty, Severity
from gradlint.rule import EngineRule


class UnusedSuppression(EngineRule):
    """A suppression comment, or one of its codes, that silenced no finding."""

    code = "GRD001"
    name = "unused-suppression"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.CERTAIN
    message = "nothing to suppress here for {codes}"
    help = "remove {what}"
