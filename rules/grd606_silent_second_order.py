"""The backward of a custom function cannot be differentiated, and nobody is told.

## Why this is wrong

With `create_graph=True` torch records what `backward` does, so that the gradient can be differentiated again. A
`detach`, `.data`, an array or a number in there takes it off the graph. The first derivative is right; a loss that has
both the value and the gradient in it gets a gradient that lacks the second part, without a word. `once_differentiable`
is meant to say so, and does only where the incoming gradient requires grad: under a plain sum it is as silent.

## Examples

```python
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return 3 * x.detach() ** 2 * grad_output  # error


def gradient_with_penalty():
    x = torch.full((1,), 2.0, requires_grad=True)
    (first,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    ((x**2).sum() + first.sum()).backward()
    return x.grad.item()
```

## Use instead

```python
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad_output


def gradient_with_penalty():
    x = torch.full((1,), 2.0, requires_grad=True)
    (first,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    ((x**2).sum() + first.sum()).backward()
    return x.grad.item()
```

## Known limits

Whether somebody differentiates twice is mostly not known: a finding is possible only, and hidden by default, unless
code of the same file asks for a gradient through the function with `create_graph`, or for a Hessian.
`once_differentiable` is reported where code of the same file asks for `create_graph` and `backward` would do without;
elsewhere it is the right thing to write. An array of what was not detached makes torch raise, which is not silent. What
compiled code does in a backward is not known.

```python
import torch
from torch.autograd.function import once_differentiable


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return 3 * x.detach() ** 2 * grad_output
```

## Runtime check

```python
# shows: gradient_with_penalty() == 4
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

WORDS = {
    "cut": ("`{name}` takes the gradient of `{function}` off the graph: second derivatives lack it", "returned here"),
    "off": ("`{name}` around `backward` of `{function}`: second derivatives lack its gradient", ""),
    "once": ("`{name}` lets second derivatives through `{function}` fail, or be silently wrong", ""),
}
"""By form, the message and what is said of where the gradient is returned."""


class SilentSecondOrder(Rule):
    """Gradients of custom functions that cannot be differentiated."""

    code = "GRD606"
    name = "silent-second-order"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.LIKELY
    message = "second derivatives through `{function}` are not those of what it computes"
    help = "write `backward` with operations of torch on what `ctx.saved_tensors` has"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what takes a gradient off the graph."""
        for function in facts.custom_functions:
            for second in function.seconds:
                if second.form in WORDS:
                    message, why = WORDS[second.form]
                    yield self.finding(
                        second.span,
                        (*(((second.at, why),) if why else ()), *second.asking()),
                        certainty=None if second.asked else Certainty.POSSIBLE,
                        message=message,
                        name=second.name,
                        function=function.name,
                    )
