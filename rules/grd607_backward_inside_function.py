"""The `backward` of a custom function goes backward itself, through what it computed with gradients off.

## Why this is wrong

torch runs the `forward` and the `backward` of a custom autograd function with gradients off. What is recomputed there
has no graph, whatever requires grad among its inputs, and `torch.autograd.grad` or `backward()` on it raises
`RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn`.

## Examples

```python
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.pow(3)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        y = x.pow(3)
        (grad,) = torch.autograd.grad(y, x, grad_output)  # error
        return grad
```

## Use instead

```python
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.pow(3)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = x.pow(3)
        (grad,) = torch.autograd.grad(y, x, grad_output)
        return grad
```

## Known limits

`forward`, and helpers that are given its context, are the business of the rule about backward without a graph. What
was computed in a region with gradients, and what `forward` has left on the context, is silent. There is no fix: what
belongs into the region is more than the call.

```python
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            ctx.graph = leaf.pow(3)
            ctx.leaf = leaf
        return ctx.graph.detach()

    @staticmethod
    def backward(ctx, grad_output):
        (grad,) = torch.autograd.grad(ctx.graph, ctx.leaf, grad_output)
        return grad
```

## Runtime check

```python
# raises: RuntimeError "does not require grad"
Cube.apply(torch.ones(2, requires_grad=True)).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class BackwardInsideFunction(Rule):
    """A backward pass in the backward of a custom function, without a graph."""

    code = "GRD607"
    name = "backward-inside-function"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` inside `{method}` of a custom function has no graph to go through: gradients are off there"
    help = "recompute what it goes through under `torch.enable_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward passes of what a custom function's backward has computed."""
        for inner in facts.inner_backwards:
            computed = ((inner.computed, "computed here, without a graph"),) if inner.computed is not None else ()
            yield self.finding(
                inner.span, (*computed, (inner.span, "backward here")), call=inner.call, method=inner.method
            )
