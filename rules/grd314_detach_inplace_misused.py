"""`detach_()` is called on a view, on a tensor that a backward still needs, or on a caller's tensor.

## Why this is wrong

`detach_()` takes a tensor off the graph where it stands. A view cannot leave the graph of what it is a view of:
`RuntimeError: Can't detach views in-place. Use detach() instead`. And where an operation has saved the tensor as its
input, the graph that is still to be walked loses its way: `RuntimeError: Trying to use a saved tensor that has been
detached in-place, i.e. with .detach_()`, raised by a backward that may be far away. Whoever else goes on with the
tensor gets no gradient through it, and no error.

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

What a caller has handed in is the caller's tensor, and leaves the caller's graph:

```python
import torch


class Memory:
    def __init__(self):
        self.kept = []

    def add(self, rows: list[torch.Tensor]):
        self.kept.append([row.detach_() for row in rows])  # error
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

Of an argument only calls whose value is used are reported: others may be there to detach it. That it is a view must
be in sight in the same function, and so must the backward. Items of what a module returns may be tensors of a tuple,
which are no views:

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

SAVED = "`detach_` takes `{target}` off the graph, but `{saver}` saved it for backward"
LENT = "`detach_` takes `{target}` off the graph of the caller, who has handed it in as `{parameter}`"


class DetachInplaceMisused(Rule):
    """`detach_()` of a view, of what a recorded operation has saved, or of a caller's tensor."""

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
            target, saved = detach.target.name or "the tensor", detach.saved
            here = (detach.span, "detached here")
            if detach.view is not None:
                because = ((detach.view, "the view is made here"), here)
                yield self.finding(detach.span, because, fact=detach, target=target)
            elif detach.lent:
                given = detach.lent
                yield self.finding(detach.span, (here,), fact=detach, message=LENT, target=target, parameter=given)
            else:
                because = ((saved[-1].span, f"`{saved[-1].op}` saves its {saved[-1].role} here"), here)
                saver = saved[-1].op
                yield self.finding(detach.span, because, fact=detach, message=SAVED, target=target, saver=saver)

    def fix(self, fact: DetachInPlace, source: Source) -> Fix:
        """Use what `detach` returns."""
        if fact.lent:
            return Fix(Safety.UNSAFE, "leave the caller's tensor as it is", inplace.detached_copy(source, fact.span))
        return Fix(Safety.UNSAFE, "use what `detach` returns", inplace.detached(source, fact.span))
