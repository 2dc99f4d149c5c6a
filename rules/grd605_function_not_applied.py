"""A custom function is called past its `apply`.

## Why this is wrong

Only `Fn.apply(x)` puts a custom autograd function on the graph. An instance cannot be called: torch raises
`RuntimeError: Legacy autograd function with non-static forward method is deprecated`, also where `forward` and
`backward` are methods of the instance, as they were before torch 1.3. `Fn.forward(None, x)` is a plain call: the
operations inside are differentiated as they stand, and the `backward` that was written for them is not used.

## Examples

```python
import torch


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


def quantise(x):
    return Round()(x)  # error
```

```python
import torch


class Ceil(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.ceil()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


def quantise(x):
    return Ceil.forward(None, x)  # error
```

## Use instead

```python
import torch


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


def quantise(x):
    return Round.apply(x)
```

## Known limits

An instance on which `apply` is called works, with a warning. A call of `forward` is only reported with None for the
context, and where every way through the function leads to it: to skip `backward` may be meant.

```python
import torch


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


def quantise(x):
    if not x.requires_grad:
        return Round.forward(None, x)
    return Round.apply(x)
```

## Fix safety

The fix writes `Fn.apply`. It is safe: calling an instance fails, and a `backward` is written in order to be used. For
an instance that is made for others to call there is no fix.

## Runtime check

```python
# raises: RuntimeError "Legacy autograd function"
quantise(torch.ones(2, requires_grad=True))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import saved
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, FunctionCall
    from gradlint.fix import Source

MESSAGES = {
    "called": "an instance of `{function}` is called, which torch refuses",
    "made": "an instance of `{function}` is made for others to call, which torch refuses",
    "forward": "`{function}.forward` is called past `apply`: its `backward` is not used",
}


class FunctionNotApplied(Rule):
    """Custom functions that are not applied."""

    code = "GRD605"
    name = "function-not-applied"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{function}` is called past `apply`"
    help = "write `{function}.apply(...)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls of instances and of `forward`."""
        for call in facts.function_calls:
            if call.form in MESSAGES:
                yield self.finding(
                    call.span,
                    fact=call,
                    certainty=Certainty.CERTAIN if call.form == "called" else Certainty.LIKELY,
                    message=MESSAGES[call.form],
                    function=call.function,
                )

    def fix(self, fact: FunctionCall, source: Source) -> Fix:
        """Apply the function."""
        return Fix(Safety.SAFE, "apply the function", saved.applied(source, fact))
