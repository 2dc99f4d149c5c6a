"""What `detach()` returned is edited in place as if it were a copy.

## Why this is wrong

`x.detach()` takes a tensor off the graph and copies nothing: the result has the same memory, so an in-place edit of
one changes the other. `x.data`, `x.detach().requires_grad_()` and views of them are the same. A value that was to be
masked for a log is masked in the loss, the tensor of a caller is overwritten, and a value that was put aside before an
update follows it. No error tells, unless an operation had saved the tensor for backward.

## Examples

```python
import torch


def masked_for_the_log(out, mask):
    h = out * 2
    shown = h.detach()
    shown[mask] = 0.0  # error
    return h.sum(), shown
```

The reverse: what was put aside changes with the tensor that it was taken from.

```python
import torch


def centred(encoder, x):
    series = encoder(x)
    last = series[:, -1:].detach()
    series[:, :] = series[:, :] - last  # error
    return series + last
```

The tensor of a caller:

```python
import torch


def constant_like(x, value):
    return x.detach().fill_(value)  # error
```

## Use instead

```python
import torch


def masked_for_the_log(out, mask):
    h = out * 2
    shown = h.detach().clone()
    shown[mask] = 0.0
    return h.sum(), shown


def constant_like(x, value):
    return torch.full_like(x, value)
```

## Known limits

Reported if the other tensor is read afterwards in the same function, or belongs to the caller and the edited one goes
on as a result. An edit that is a statement of its own, `x.detach().zero_()`, writes to `x` on purpose, and so does the
update of parameters, unless what was detached is made a leaf of its own with `requires_grad_()`:

```python
import torch


def update(model, lr):
    for param in model.parameters():
        values = param.detach()
        values -= lr * param.grad
```

Aliases in attributes and containers, and those that `numpy()` makes, are not followed.

## Fix safety

The fix clones what was detached. Values change where the edit was visible through the other name, which is the point;
where somebody relied on it, it breaks them: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: masked_for_the_log(torch.ones(4), torch.ones(4, dtype=torch.bool))[0] == 0
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, SharedEdit
    from gradlint.fix import Source


class DetachSharesStorage(Rule):
    """In-place edit through a detached alias that was taken for a copy."""

    code = "GRD306"
    name = "detach-shares-storage"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` in place, which shares its memory with `{other}`"
    help = "`{how}` copies nothing: edit a clone of what it returns"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits through detached aliases that the other tensor's reader sees."""
        for shared in facts.shared_edits:
            if shared.form == "detached":
                edit = shared.edit
                yield self.finding(
                    shared.span,
                    shared.because(),
                    fact=shared,
                    op=edit.op,
                    target=edit.target.name or "the result",
                    other=shared.other,
                    how=shared.how,
                )

    def fix(self, fact: SharedEdit, source: Source) -> Fix:
        """Clone what was detached."""
        if fact.detached is None:
            raise NoFix("it is not known what was taken for a copy")
        _, _, line, column = fact.detached
        return Fix(Safety.UNSAFE, "clone what is detached", (source.insert(line, column, ".clone()"),))
