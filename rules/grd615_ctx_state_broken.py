"""`backward` of a custom function reads something from `ctx` that is not there.

## Why this is wrong

The context is all that `backward` knows of its `forward`. An attribute that nothing sets is an `AttributeError`, in the
middle of a backward pass; saved tensors that were never saved are an empty tuple. And what `backward` takes off the
context itself is missing when it runs again, as it does with `retain_graph=True` or for second derivatives.

## Examples

```python
import torch


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.scale, None  # error
```

```python
import torch


class Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.exp()

    @staticmethod
    def backward(ctx, grad_output):
        (y,) = ctx.saved_tensors  # error
        return grad_output * y
```

## Use instead

```python
import torch


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.factor, None
```

## Known limits

An attribute that `forward` sets on some paths only counts as set. Where the context is handed to other code, or the
class has bases other than `torch.autograd.Function` that are not in sight, nothing is reported. That `backward` clears
an attribute is only shown by default if code of the same file keeps a graph for another backward; otherwise it is
reported as possible, for it saves memory on purpose:

```python
import torch


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.positive = x > 0
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        grad = grad_output * ctx.positive
        ctx.positive = None
        return grad
```

## Runtime check

```python
# raises: AttributeError "scale"
Scale.apply(torch.ones(2, requires_grad=True), 3.0).sum().backward()
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
    "unset": ("`backward` reads `ctx.{attribute}`, which nothing sets", "this sets no such attribute"),
    "unsaved": ("`backward` takes tensors from `ctx.{attribute}`, and nothing was saved", "this saves nothing"),
    "cleared": ("`backward` takes `ctx.{attribute}` away, and cannot run again", "read here"),
}
HINTS = {"cleared": "leave it there, or save it with `ctx.save_for_backward`, which torch frees itself"}


class CtxStateBroken(Rule):
    """What backward reads of the context and does not find."""

    code = "GRD615"
    name = "ctx-state-broken"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`backward` reads `ctx.{attribute}`, which is not there"
    help = "set it in `forward`, under the same name"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report reads of what nothing sets, and what backward clears."""
        for function in facts.custom_functions:
            for state in function.broken:
                message, why = WORDS[state.form]
                hidden = state.form == "cleared" and not state.retained
                yield self.finding(
                    state.span,
                    ((state.at, why),),
                    certainty=Certainty.POSSIBLE if hidden else Certainty.LIKELY,
                    message=message,
                    help=HINTS.get(state.form),
                    attribute=state.attribute,
                )
