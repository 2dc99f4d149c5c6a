"""A custom function is given tensors, or saves them, where autograd does not see them.

## Why this is wrong

`apply` looks at its arguments one by one: tensors inside of a list, tuple or dict get no gradient, and the result does
not even require grad. Neither do the parameters of a module among its arguments, nor a tensor that `forward` finds
around the class. `ctx.save_for_backward` keeps what the last call gave it and forgets the calls before, without a word.
It takes tensors and None only: `TypeError: save_for_backward can only save variables`. After
`ctx.set_materialize_grads(False)` the gradient of an output that nobody used is None.

## Examples

```python
import torch


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x)
        ctx.save_for_backward(y)  # error
        return x * y

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * x, grad_output * x


def gradient_of_square(w):
    Product.apply(2 * torch.ones_like(w), w).sum().backward()
    return w.grad
```

```python
import torch


class Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensors):
        return tensors[0] + tensors[1]

    @staticmethod
    def backward(ctx, grad_output):
        return (None,)


def total(model, x):
    h = model(x)
    out = Total.apply([h, h * 2])  # error
    return out.sum()
```

## Use instead

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
        return grad_output * y, grad_output * x


def gradient_of_square(w):
    Product.apply(2 * torch.ones_like(w), w).sum().backward()
    return w.grad
```

## Known limits

A container is reported if it is written in the call and something in it is on the graph for certain. Modules that
`forward` takes from around the class are not looked for, and a `backward` that goes backward itself may give parameters
their gradient. Calls on different paths forget nothing:

```python
import torch


class Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias):
        if bias is None:
            ctx.save_for_backward(x, None)
            return x * 2
        ctx.save_for_backward(x, bias)
        return x * 2 + bias

    @staticmethod
    def backward(ctx, grad_output):
        x, bias = ctx.saved_tensors
        return grad_output * 2, None if bias is None else grad_output
```

## Runtime check

```python
# shows: gradient_of_square(torch.ones(2, requires_grad=True)).eq(1).all()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts

SAVES = {
    "twice": ("`save_for_backward` forgets what was saved before", "save everything in one call", "saved before"),
    "plain": (
        "`{name}` is no tensor, and `save_for_backward` takes nothing else",
        "keep it in an attribute of `ctx`",
        "",
    ),
    "captured": ("`{name}` is used by `forward` and is no input: it gets no gradient", "give it to `apply`", ""),
    "unmaterialised": (
        "`{name}` may be None here: nothing says that its output was used",
        "ask whether it is None first, or let torch make zeros of it",
        "asked for None here",
    ),
}
"""By form, message, help, and what is said of the call before."""
MODULE = "the parameters of `{name}` get no gradient from `{function}.apply`"
LEAVE_OUT = "call the module outside, or give `apply` its parameters as tensors"


class FunctionArgumentLosesGradient(Rule):
    """Tensors that a custom function does not see, or forgets."""

    code = "GRD609"
    name = "function-argument-loses-gradient"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "a tensor inside of a {container} gets no gradient from `{function}.apply`"
    help = "give `apply` its tensors one by one: `apply(*tensors)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report containers of tensors, and saves that lose something."""
        for call in facts.function_calls:
            if call.form == "container" and call.made is not None:
                yield self.finding(
                    call.span, ((call.made, "on the graph"),), container=call.argument, function=call.function
                )
            elif call.form == "module":
                name = call.argument or "a module"
                yield self.finding(call.span, message=MODULE, help=LEAVE_OUT, name=name, function=call.function)
        for function in facts.custom_functions:
            for save in function.saves:
                message, remedy, why = SAVES[save.form]
                because = ((save.at, why),) if why else ()
                yield self.finding(save.span, because, message=message, help=remedy, name=save.name)
