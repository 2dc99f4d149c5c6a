"""What `backward` of a custom function returns does not fit what its `forward` takes.

## Why this is wrong

`backward` has to return one gradient for every input of `forward`, in their order, and None for an input that needs
none. With fewer, torch raises `RuntimeError: function ... returned an incorrect number of gradients (expected 2, got
1)`; with more, only if what is left over is not None. Without a `return` there is no gradient at all. The positions of
`ctx.needs_input_grad` are those of the inputs, `ctx` not counted: one beyond them is an `IndexError`, and that of
another input leaves a gradient out without a word. Taken apart, it has as many flags as there are inputs. A `forward`
without `ctx` needs a `setup_context`, and one with a `setup_context` must not have a `ctx`.

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
        return grad_output * ctx.factor  # error
```

The index is one too high:

```python
import torch


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, grad_output):
        x, y = ctx.saved_tensors
        grad_x = grad_y = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_output * y
        if ctx.needs_input_grad[2]:  # error
            grad_y = grad_output * x
        return grad_x, grad_y
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

Reported where both numbers are certain. A flag that decides about two gradients, or is asked for elsewhere too, may be
meant, and one that only decides whether to raise is. Inputs with a default may be left out, and how many gradients a
helper returns is not known; more of them than inputs are legal as long as they are None:

```python
import torch


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor=2.0):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.factor, None, None
```

## Runtime check

```python
# raises: RuntimeError "incorrect number of gradients"
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

MESSAGES = {
    "few": "`backward` returns {found} gradient{s} for {wanted} input{t}",
    "many": "`backward` returns {found} gradient{s} for {wanted} input{t}",
    "missing": "`backward` returns nothing: no input gets a gradient",
    "index": "`needs_input_grad[{found}]` is beyond the {wanted} input{t}",
    "unpacked": "`needs_input_grad` has one flag for each of {wanted} input{t}, and {found} are taken",
    "shifted": "`needs_input_grad[{found}]` decides about `{name}`, the gradient of input {wanted}",
    "context": "`forward` has no context and there is no `setup_context`: `{name}` is given the context",
    "double": "`forward` takes `{name}`, which `setup_context` does instead: an input is missing",
}
HINTS = {
    "context": "make `ctx` its first parameter, or write a `setup_context`",
    "double": "take `ctx` out of `forward`, or write no `setup_context`",
    "index": "count the inputs of `forward` from 0, without `ctx`",
    "shifted": "count the inputs of `forward` from 0, without `ctx`",
}


class WrongGradientCount(Rule):
    """Gradients that do not fit the inputs of a custom function."""

    code = "GRD604"
    name = "wrong-gradient-count"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`backward` returns {found} gradients for {wanted} inputs"
    help = "return one gradient for each input, and None for those that need none"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report counts and positions that do not fit."""
        for function in facts.custom_functions:
            for wrong in function.gradients:
                what = "returned here" if wrong.form == "shifted" else "the inputs are these"
                yield self.finding(
                    wrong.span,
                    ((wrong.at, what),) if wrong.at != wrong.span else (),
                    certainty=Certainty.LIKELY if wrong.form == "shifted" else Certainty.CERTAIN,
                    message=MESSAGES[wrong.form],
                    help=HINTS.get(wrong.form),
                    found=wrong.found,
                    wanted=wrong.wanted,
                    name=wrong.name,
                    s="" if wrong.found == 1 else "s",
                    t="" if wrong.wanted == 1 else "s",
                )
