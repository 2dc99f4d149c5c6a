"""A saved tensor is edited where torch does not count edits: no error, and a wrong gradient.

## Why this is wrong

torch finds out that a tensor which an operation saved for backward was edited by counting edits. What goes through
`.data`, through the array that `numpy()` returns, through the array that `torch.from_numpy` was given, and the step of
an optimizer made with `fused=True` is not counted. Backward then computes with the new values: no error tells, and the
gradient is that of no function. Where the same edit is made by `with torch.no_grad():`, or through `detach()`, backward
raises.

## Examples

Weights are clipped between forward and backward:

```python
import torch


def gradient_of_square(w):
    loss = (w * w).sum()
    w.data.clamp_(-1, 1)  # error
    loss.backward()
    return w.grad
```

An output is scaled for display:

```python
import torch


def step(encoder, x):
    probabilities = encoder(x).sigmoid()
    shown = probabilities.detach().numpy()
    shown *= 255  # error
    probabilities.sum().backward()
    return shown
```

## Use instead

Edit behind the backward, or a copy:

```python
import torch


def gradient_of_square(w):
    loss = (w * w).sum()
    loss.backward()
    with torch.no_grad():
        w.clamp_(-1, 1)
    return w.grad


def step(encoder, x):
    probabilities = encoder(x).sigmoid()
    shown = probabilities.detach().numpy() * 255
    probabilities.sum().backward()
    return shown
```

## Known limits

The edit, the operation that saved, and what the backward starts from stand in one function. Edits of what no operation
saved are legal, `from_dlpack` and storages are not followed, and what moves or casts a tensor on the way is taken to
copy it:

```python
import torch


def legal(w):
    h = w * 3
    h.data.mul_(10)
    h.sum().backward()
```

There is no fix: whether the edit belongs behind the backward or on a copy is not known.

## Runtime check

```python
# shows: bool((gradient_of_square(torch.full((2,), 2.0, requires_grad=True)) == 2).all())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class SilentSavedEdit(Rule):
    """An edit, which torch does not count, of a tensor that a recorded operation saved."""

    code = "GRD303"
    name = "silent-saved-edit"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` unseen by torch, and `{saver}` saved it: backward computes with the new values"
    help = "edit it behind the backward, or edit a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report uncounted edits of what a backward still needs, and fused steps between a forward and its backward."""
        for edit in facts.unseen_edits:
            saved = edit.saved[-1]
            because = ((saved.span, f"`{saved.op}` saves its {saved.role} here"), (edit.span, "edited here"))
            target = edit.target.name or "the tensor"
            yield self.finding(edit.span, because, op=edit.op, target=target, saver=saved.op)
        for late in facts.late_backwards:
            if late.fused:
                message = "`{op}` goes through `{target}` as it was before `{saver}` has changed it, and nothing raises"
                target = late.module or "the module"
                yield self.finding(
                    late.span, late.because(), message=message, op=late.call, target=target, saver=late.optimizer
                )
