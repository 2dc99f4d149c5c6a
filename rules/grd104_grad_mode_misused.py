"""A gradient-mode context is given something it does not take, or is not called where it must be.

## Why this is wrong

- `torch.set_grad_enabled(mode)` takes a `bool` and nothing that merely counts as one: `0`, `1`, `None`, a string, a
  tensor or a numpy bool raise `TypeError`, and so does leaving the argument out.
- `with torch.no_grad:` enters the class instead of an object of it and raises `TypeError`.
- `torch.no_grad(model)` and `torch.enable_grad(False)` take their argument for a *function to decorate*. They return a
  wrapper and raise only when a `with` enters it; called on their own, they change nothing. `torch.inference_mode` takes
  a `bool` and treats everything else as a function to decorate.
- `@torch.set_grad_enabled` without an argument hands it the function and raises while the module is imported.

## Examples

```python
import torch


def score(model, x, training=0):
    with torch.set_grad_enabled(0):  # error
        return model(x)
```

```python
import torch


def score(model, x):
    with torch.no_grad:  # error
        return model(x)
```

```python
import torch


def score(model, x):
    with torch.no_grad(model):  # error
        return model(x)
```

```python
import torch


def score(model, x, phase):
    with torch.set_grad_enabled("train"):  # error
        return model(x)
```

## Use instead

```python
import torch


def score(model, x, training=False):
    with torch.set_grad_enabled(training):
        return model(x)
```

```python
import torch


def score(model, x):
    with torch.no_grad():
        return model(x)
```

## Known limits

The decorators without parentheses work and are not reported, and `torch.inference_mode(False)` is a legal way to do
nothing:

```python
import torch


@torch.no_grad
def score(model, x):
    return model(x)


def run(model, x, fast):
    with torch.inference_mode(fast):
        return model(x)
```

Of a variable, the type is known only where its value is visible; `torch.set_grad_enabled(mode)` with a `mode` that
comes from outside is reported only if a call in the same file hands in what is not a bool.

## Fix safety

The fix adds the missing pair of parentheses, drops a module given to `no_grad`, writes `True` or `False` for `1` or
`0`, or puts `bool(...)` around a call. It is safe: the code as it stands raises on every run. Where more than one thing
may be meant, as with a string or `no_grad(flag)`, there is no fix.

## Runtime check

```python
# raises: TypeError "must be bool"
score(nn.Linear(4, 1), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import arguments
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import ContextMisuse, Facts
    from gradlint.fix import Source


WORDS = {
    "uncalled": "it is a class here, not a context: the call is missing",
    "wraps": "it takes no argument but a function to decorate",
    "argument": "{detail} is not a bool, torch raises a `TypeError`",
    "handed": "a caller hands in what is not a bool, torch raises a `TypeError`",
    "no-argument": "its argument is missing, torch raises a `TypeError`",
}


class GradModeMisused(Rule):
    """A gradient-mode context that is not called, or called with what it does not take."""

    code = "GRD104"
    name = "grad-mode-misused"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}` does not set a gradient mode: {what}"
    help = "write `{instead}`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report contexts entered without being called and calls with arguments they do not take."""
        for misuse in facts.misuses:
            if misuse.form in WORDS:
                what = WORDS[misuse.form].format(detail=misuse.detail)
                needs = misuse.context.endswith("set_grad_enabled") or "argument" in misuse.form
                instead = f"{misuse.context}(True)` or `{misuse.context}(False)" if needs else f"{misuse.context}()"
                yield self.finding(
                    misuse.span,
                    misuse.because,
                    fact=misuse,
                    help=f"hand in True or False for `{misuse.detail}`" if misuse.form == "handed" else None,
                    call=misuse.shown,
                    what=what,
                    instead=instead,
                )

    def fix(self, fact: ContextMisuse, source: Source) -> Fix | None:
        """Call it, or give it what it takes, where only one thing can be meant."""
        if fact.form == "uncalled":
            return Fix(Safety.SAFE, "call it", arguments.called(source, fact))
        if fact.form == "wraps":
            return Fix(Safety.SAFE, "drop the argument", arguments.emptied(source, fact))
        if fact.form == "argument":
            return Fix(Safety.SAFE, "give it a bool", arguments.as_bool(source, fact))
        return None
