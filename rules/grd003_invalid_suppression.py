"""A suppression comment does not do what it says: it is misspelled, names no known rule, or lacks a required reason.

## Why this is wrong

It looks as if a finding had been considered and accepted, but the comment silences nothing. The form is

- `# gradlint: ignore[GRD101] -- reason` at the end of the line, or on a line of its own directly above;
- `# gradlint: ignore[GRD101, backward-without-graph]` with several rules, by code or by name;
- `# gradlint: ignore-file[GRD101] -- reason` anywhere, for the whole file;
- `# noqa: GRD101`, which other linters share.

A suppression always names its rules, so that it cannot hide a mistake of another kind. The reason is optional unless
the setting `require-reason` is on. GRD000 and GRD002 tell what was *not* analysed and cannot be suppressed.

## Examples

```python
import torch


def score(model, x):
    with torch.no_grad():  # gradlint: ignore  # error
        return model(x)
```

```python
import torch


def score(model, x):
    with torch.no_grad():  # gradlint: ignore[GRD999] -- no such rule  # error
        return model(x)
```

## Use instead

```python
import torch


def score(model, x):
    with torch.no_grad():
        return model(x)
```

## Known limits

A foreign code in a `# noqa` is not looked at.

## Runtime check

None: this rule makes no claim about autograd.
"""

from __future__ import annotations

from gradlint.finding import Certainty, Severity
from gradlint.rule import EngineRule


class InvalidSuppression(EngineRule):
    """A suppression comment that cannot be followed."""

    code = "GRD003"
    name = "invalid-suppression"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.CERTAIN
    message = "{problem}"
    help = "{remedy}"
