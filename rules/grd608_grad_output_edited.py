"""The `backward` of a custom function edits in place what it is given.

## Why this is wrong

The gradient that `backward` is given belongs to autograd: the same tensor may be the gradient of a sibling branch, or
the one that the caller handed to `backward(gradient)`. Editing it corrupts both without an error, or raises where the
gradient is an expanded scalar. Saved tensors belong to whoever made them, and to the next backward through the graph.

## Examples

```python
import torch


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clamp_(-0.1, 0.1)  # error


def handed_in(w):
    gradient = torch.ones_like(w)
    Clip.apply(w).backward(gradient)
    return gradient
```

```python
import torch


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        x *= 2  # error
        return grad_output * x
```

## Use instead

```python
import torch


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clamp(-0.1, 0.1)


def handed_in(w):
    gradient = torch.ones_like(w)
    Clip.apply(w).backward(gradient)
    return gradient
```

## Known limits

Edits of items of the gradient itself (`grad_output[mask] = 0`) are not seen. Saved tensors that are neither an input
nor an output belong to the function, which may reuse their memory once; what was computed from the gradient, or cloned,
belongs to it as well:

```python
import torch


class Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[x < 0] = 0
        return grad_input
```

## Fix safety

The fix clones before the edit. It takes more memory, and code that relied on the edit no longer sees it: it is unsafe
and never applied unasked.

## Runtime check

```python
# shows: handed_in(torch.ones(2, requires_grad=True)).lt(0.5).all()
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

OWNERS = {"gradient": "the gradient that it is given", "saved": "which it has saved"}


class GradOutputEdited(Rule):
    """In-place edits of incoming gradients and of saved tensors."""

    code = "GRD608"
    name = "grad-output-edited"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`backward` edits `{name}`, {owner}, in place by `{op}`"
    help = "compute a new tensor, or edit a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of what belongs to autograd."""
        for function in facts.custom_functions:
            for edit in function.spoilt:
                if edit.form in OWNERS:
                    yield self.finding(
                        edit.span,
                        ((edit.span, "edited here"),),
                        fact=edit,
                        name=edit.name,
                        owner=OWNERS[edit.form],
                        op=edit.op,
                    )

    def fix(self, fact: SpoiltTensor, source: Source) -> Fix:
        """Edit a clone."""
        return Fix(Safety.UNSAFE, "edit a clone", saved.cloned(source, fact))
