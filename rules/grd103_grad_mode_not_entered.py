"""A gradient-mode object is made but never entered, so the mode does not change.

## Why this is wrong

`torch.no_grad()`, `torch.enable_grad()` and `torch.inference_mode()` return an object that changes the mode when a
`with` statement enters it or when it decorates a function. Making the object does nothing. As a statement of its own,
stored in a variable that no `with` uses, or as the left side of `and` in a `with` header, it is thrown away: the code
below runs in the mode it had before. Nothing warns. A forward builds its whole graph, or, where `enable_grad` was
meant, gradients are missing.

`torch.is_grad_enabled = False` belongs here too: it replaces the function that *asks* for the mode by a constant and
sets nothing.

## Examples

```python
import torch


def norm_of_weights(model):
    torch.no_grad()  # error
    return sum(p.pow(2).sum() for p in model.parameters())
```

`and` gives back its right operand, so only that one is entered:

```python
import torch


def embed(model, tokens):
    with torch.no_grad() and torch.autocast("cpu", dtype=torch.bfloat16):  # error
        return model(tokens)
```

Stored, and never used in a `with`:

```python
import torch


def embed(model, tokens):
    guard = torch.inference_mode()  # error
    return model(tokens)
```

## Use instead

```python
import torch


def norm_of_weights(model):
    with torch.no_grad():
        return sum(p.pow(2).sum() for p in model.parameters())
```

```python
import torch


def embed(model, tokens):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return model(tokens)
```

## Known limits

An object that is returned, passed on or put into an attribute may be entered elsewhere and is not reported:

```python
import torch
from contextlib import nullcontext


def mode_for(training):
    return nullcontext() if training else torch.no_grad()
```

`torch.set_grad_enabled(False)` as a statement does change the mode, at once and until something changes it back; see
`GRD105`.

## Fix safety

The fix puts the rest of the block into a `with` statement, or enters both contexts of `a() and b()`. That turns
gradient tracking off where it was on: code that relied on the missing guard, knowingly or not, behaves differently. It
is unsafe and never applied unasked. Where the rest of the block goes backward there is no fix.

## Runtime check

```python
# shows: result.requires_grad
result = norm_of_weights(nn.Linear(4, 1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import ContextMisuse, Facts
    from gradlint.fix import Source


WORDS = {
    "discarded": "the context is made and dropped",
    "unused": "the context is stored and never entered",
    "short-circuit": "`and` and `or` pick one of two contexts, they do not enter either",
    "replaced": "this replaces torch's function and switches nothing",
}


class GradModeNotEntered(Rule):
    """A gradient-mode object that is discarded, stored in vain, or hidden behind `and`."""

    code = "GRD103"
    name = "grad-mode-not-entered"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{context}` has no effect: {what}"
    help = "write `with {context}:` around the code that it is meant for"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report gradient-mode objects that nothing can ever enter."""
        for misuse in facts.misuses:
            if misuse.form in WORDS:
                yield self.finding(misuse.span, fact=misuse, context=misuse.shown, what=WORDS[misuse.form])

    def fix(self, fact: ContextMisuse, source: Source) -> Fix:
        """Enter the context: around the rest of the block, or beside the other one."""
        return Fix(Safety.UNSAFE, f"enter `{fact.shown}`", modes.entered(source, fact))
