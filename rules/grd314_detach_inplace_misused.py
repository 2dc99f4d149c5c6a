"""`detach_()` is called on a view, or on a tensor that a backward still needs.

## Why this is wrong

`detach_()` takes a tensor off the graph where it stands. A view cannot leave the graph of what it is a view of:
`RuntimeError: Can't detach views in-place. Use detach() instead`. And where an operation has saved the tensor as its
input, the graph that is still to be walked loses its way: `RuntimeError: Trying to use a saved tensor that has been
detached in-place, i.e. with .detach_()`, raised by a backward that may be far away.

## Examples

```python
import torch


def states(encoder, steps):
    h = encoder(steps)
    last = h[-1:]
    last.detach_()  # error
    return h, last
```

Truncated backpropagation, but the graph is still needed:

```python
import torch


def unrolled(encoder, h):
    loss = 0.0
    h = encoder(h)
    loss = loss + (h * h).sum()
    h.detach_()  # error
    loss.backward()
    return h
```

## Use instead

`detach()` returns another tensor and leaves this one as it is; `detach_()` is right behind the backward.

```python
import torch


def states(encoder, steps):
    h = encoder(steps)
    last = h[-1:].detach()
    return h, last


def unrolled(encoder, h):
    loss = 0.0
    h = encoder(h)
    loss = loss + (h * h).sum()
    loss.backward()
    h.detach_()
    return h
```

## Known limits

That it is a view must be in sight in the same function, and so must the backward. Items of what a module returns may
be tensors of a tuple, which are no views:

```python
import torch


def carried(cell, x, hidden):
    out, hidden = cell(x, hidden)
    hidden[0].detach_()
    hidden[1].detach_()
    return out, hidden
```

## Fix safety

The fix writes `x = x.detach()`. Other names of the same tensor then stay on the graph, which may be what they were
meant to do or not: it is unsafe and never applied unasked. Where the target is no variable there is no fix.

## Runtime check

```python
# raises: RuntimeError "Can't detach views in-place"
states(nn.Linear(4, 4), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import DetachInPlace
    from gradlint.fix import Source


class DetachInplaceMisused(Rule):
    """`detach_()` of a view, or of what a recorded operation has saved."""

    code = "GRD314"
    name = "detach-inplace-misused"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`detach_` is called on `{target}`, which is a view"
    help = "use what `detach()` returns"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls of `detach_` that torch refuses, there or in backward."""
        for detach in facts.detaches:
            target = detach.target.name or "the tensor"
            if detach.view is not None:
                because = ((detach.view, "the view is made here"), (detach.span, "detached here"))
                yield self.finding(detach.span, because, fact=detach, target=target)
            else:
                saved = detach.saved[-1]
                because = ((saved.span, f"`{saved.op}` saves its {saved.role} here"), (detach.span, "detached here"))
                message = "`detach_` takes `{target}` off the graph, but `{saver}` saved it for backward"
                yield self.finding(detach.span, because, fact=detach, message=message, target=target, saver=saved.op)

    def fix(self, fact: DetachInPlace, source: Source) -> Fix:
        """Use what `detach` returns."""
        return Fix(Safety.UNSAFE, "use what `detach` returns", inplace.detached(source, fact.span))
