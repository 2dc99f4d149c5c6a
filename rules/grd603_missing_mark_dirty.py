"""The `forward` of a custom function edits its input in place and does not say so.

## Why this is wrong

Autograd does not see what happens inside of `forward`. It learns of an in-place edit of an input from
`ctx.mark_dirty(x)`: then the input stands behind the function from there on. Without it the input keeps its old place
on the graph with its new value, and a gradient that comes through it skips the function. No error tells.

## Examples

```python
import torch


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x.mul_(2)  # error
        return x

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * 2


def gradient(w):
    h = w * 3
    Double.apply(h)
    h.sum().backward()
    return w.grad
```

## Use instead

```python
import torch


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(2)
        return x

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * 2


def gradient(w):
    h = w * 3
    Double.apply(h)
    h.sum().backward()
    return w.grad
```

## Known limits

Inputs that get no gradient are buffers, which a function may fill; what `forward` has copied is its own:

```python
import torch


class Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, total):
        total.add_(x.numel())
        out = x.clone()
        out.mul_(2)
        return out

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * 2, None
```

Edits of items (`x[mask] = 0`) of an input are not seen.

## Fix safety

The fix marks the input. It changes gradients, which is the point, and makes torch refuse a leaf as the input: it is
unsafe and never applied unasked. Where the input is not returned torch would refuse the mark, and there is no fix.

## Runtime check

```python
# shows: gradient(torch.ones(2, requires_grad=True)).eq(3).all()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import saved
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.functions import SpoiltTensor
    from gradlint.fix import Source


class MissingMarkDirty(Rule):
    """In-place edit of a custom function's input without `mark_dirty`."""

    code = "GRD603"
    name = "missing-mark-dirty"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`forward` edits its input `{name}` in place by `{op}`, and `ctx.mark_dirty` is not told"
    help = "call `ctx.mark_dirty({name})` and return `{name}`, or edit a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of inputs that get a gradient."""
        for function in facts.custom_functions:
            for edit in function.spoilt:
                if edit.form == "dirty":
                    yield self.finding(edit.span, ((edit.span, "edited here"),), fact=edit, name=edit.name, op=edit.op)

    def fix(self, fact: SpoiltTensor, source: Source) -> Fix:
        """Mark the input."""
        return Fix(Safety.UNSAFE, "mark the input", saved.marked(source, fact))
