"""The linter itself failed: some part of this file was not analysed.

## Why this is wrong

An exception in one rule or in the analysis of one function stops only that rule or that function, the death of the
analysing process only the file it was working on, and a file that takes longer than ten seconds is given up
(severity `info`). The rest is complete. The exit code is 2, because "no findings" would not be the truth.

It is never your code's fault. Please report it, with the function it names if you can. Setting the environment
variable `GRADLINT_RAISE_INTERNAL_ERRORS=1` shows the traceback.

## Examples

There is no code that is known to do this; if there were, it would be mended.

```python
import torch


def score(model, x):
    with torch.no_grad():
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

It cannot be silenced by a comment. To live with it until it is mended, ignore GRD002 for the file with
`per-file-ignores`.

## Runtime check

None: this rule makes no claim about autograd.
"""

from __future__ import annotations

from gradlint.finding import Certainty, Severity
from gradlint.rule import EngineRule


class InternalError(EngineRule):
    """A fault of gradlint, confined to the part of a file that it names."""

    code = "GRD002"
    name = "internal-error"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "{problem}"
    help = "{remedy}"
