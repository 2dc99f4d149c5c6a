"""A custom function keeps for its backward what it has computed on the way, so that second derivatives are wrong.

## Why this is wrong

torch runs the `forward` of a custom autograd function with gradients off. An input that is saved comes back in
`backward` with its graph, and an output does too. Something in between comes back as a constant: nobody knows that it
depends on the input. The first derivative is right. The second one, of a gradient penalty or a Hessian, lacks the part
that goes through it, without a word; if nothing else is left, torch raises `element 0 of tensors does not require
grad`.

## Examples

```python
import torch


class XExpX(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        ctx.save_for_backward(x, e)  # error
        return e * x

    @staticmethod
    def backward(ctx, grad_output):
        x, e = ctx.saved_tensors
        return grad_output * (e * x + e)


def second_derivative_at_one():
    x = torch.ones(1, requires_grad=True)
    (first,) = torch.autograd.grad(XExpX.apply(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return second.item()
```

## Use instead

Save the input and compute it again, or return it as another output, marked with `ctx.mark_non_differentiable` only if
nobody differentiates twice:

```python
import torch


class XExpX(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp() * x

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        e = x.exp()
        return grad_output * (e * x + e)


def second_derivative_at_one():
    x = torch.ones(1, requires_grad=True)
    (first,) = torch.autograd.grad(XExpX.apply(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return second.item()
```

or mark `backward` as `once_differentiable`.

## Known limits

Whether somebody differentiates twice is not known where the function is defined. A finding is possible only, and hidden
by default, unless code of the same file asks for a gradient through the function with `create_graph`, or for a Hessian:
there, in a function that is called on the way, or through a module that applies it. Results of other code, masks and
indices are no intermediates. A `backward` that calls another custom function, or compiled code, is silent:

```python
import torch


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        positive = x > 0
        ctx.save_for_backward(positive)
        return x * positive

    @staticmethod
    def backward(ctx, grad_output):
        (positive,) = ctx.saved_tensors
        return grad_output * positive
```

## Runtime check

```python
# shows: second_derivative_at_one() < 8
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class IntermediateSaved(Rule):
    """Intermediate results that a custom function keeps."""

    code = "GRD602"
    name = "intermediate-saved"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "`{tensor}` is neither an input nor an output of `{function}`: second derivatives take it for a constant"
    help = "compute it again in `backward`, or mark `backward` as `once_differentiable`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report intermediate results that backward reads."""
        for function in facts.custom_functions:
            for second in function.seconds:
                if second.form == "intermediate":
                    yield self.finding(
                        second.span,
                        ((second.at, "read here, as a constant"), *second.asking()),
                        certainty=None if second.asked else Certainty.POSSIBLE,
                        tensor=second.name,
                        function=function.name,
                    )
