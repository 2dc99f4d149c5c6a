"""An input or output of a custom function is kept in an attribute of `ctx`.

## Why this is wrong

`ctx.save_for_backward` is how a custom autograd function keeps its inputs and outputs. A plain attribute goes around
all that autograd does for them. An output on `ctx` closes a circle: the output holds its graph, the graph holds `ctx`,
and `ctx` holds the output, so that memory stays in use until Python's garbage collector comes by. An input that
somebody edits in place before backward gives a wrong gradient without an error, for nobody checks its version. And
nothing is freed after backward. What another library has made of an output by DLPack holds it as well.

## Examples

```python
import weakref

import torch


class Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.y = y  # error
        return y

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.y


def is_kept(x):
    y = Exponential.apply(x)
    known = weakref.ref(y)
    del y
    return known() is not None
```

```python
import torch


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim):
        out = x.softmax(dim)
        ctx.cache = (dim, out)  # error
        return out

    @staticmethod
    def backward(ctx, grad_output):
        dim, out = ctx.cache
        weighted = grad_output * out
        return weighted - out * weighted.sum(dim, keepdim=True), None
```

## Use instead

Save tensors; numbers, shapes and modules may stay where they are.

```python
import weakref

import torch


class Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad_output):
        (y,) = ctx.saved_tensors
        return grad_output * y


def is_kept(x):
    y = Exponential.apply(x)
    known = weakref.ref(y)
    del y
    return known() is not None
```

## Known limits

Only inputs that are tensors of floats as far as an annotation or their use tells, and outputs. What is neither, such as
a mask that `forward` has computed, may stand on `ctx`, and so may what is marked as not differentiable, and what
`backward` takes away again. Where `backward` reads nothing but the shape and the type of an input, only memory is lost:
that is reported as possible. Containers that are filled elsewhere are not followed.

```python
import torch


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.positive = x > 0
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.positive
```

## Fix safety

Where the tensor is the only thing that the function keeps, the fix gives it to `save_for_backward` and takes it from
`saved_tensors`. Code that reads the attribute from elsewhere then fails, and a second backward without `retain_graph`
does too: it is unsafe and never applied unasked. For several tensors, and for those in containers, there is no fix.

## Runtime check

```python
# shows: is_kept(torch.ones(2, requires_grad=True))
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
    from gradlint.facts.functions import KeptTensor
    from gradlint.fix import Source


class TensorOnCtx(Rule):
    """Inputs and outputs of a custom function in attributes of its context."""

    code = "GRD601"
    name = "tensor-on-ctx"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`ctx.{attribute}` keeps `{tensor}`, {role} of the function, past `save_for_backward`"
    help = "give it to `ctx.save_for_backward`, and take it from `ctx.saved_tensors` in `backward`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report inputs and outputs that are kept in attributes."""
        for function in facts.custom_functions:
            for kept in function.kept:
                role = {"input": "an input", "output": "an output"}[kept.role]
                yield self.finding(
                    kept.span,
                    tuple((read, "read here") for read in kept.reads[:1]),
                    fact=kept,
                    certainty=Certainty.POSSIBLE if kept.measured else Certainty.LIKELY,
                    attribute=kept.attribute,
                    tensor=kept.name,
                    role=f"which owns {role}" if kept.owner else role,
                )

    def fix(self, fact: KeptTensor, source: Source) -> Fix:
        """Save the tensor."""
        return Fix(Safety.UNSAFE, "save it for backward", saved.kept(source, fact))
