"""`out=` is used with tensors that require grad.

## Why this is wrong

A function with `out=` writes its result into memory that exists already, which autograd cannot follow. With gradients
on, and anything that requires grad among the arguments or in `out` itself, torch raises `RuntimeError: functions with
out=... arguments don't support automatic differentiation, but one of the arguments requires grad`.

## Examples

```python
import torch


def double(w):
    result = torch.empty(2)
    torch.mul(w.requires_grad_(), 2, out=result)  # error
    return result
```

## Use instead

```python
import torch


def double(w):
    result = torch.mul(w.requires_grad_(), 2)
    return result
```

or turn gradients off around it.

## Known limits

Reported if an argument is on the graph for certain: the parameter of a function is not. That a parameter of a module is
written to is the business of the rule about in-place edits of leaves. Operations without a derivative are legal:

```python
import torch


def largest(model, x):
    out = model(x)
    return torch.argmax(out, out=torch.empty((), dtype=torch.long))
```

## Fix safety

The fix assigns the result instead of writing it into the tensor. It takes more memory, and other names of that tensor
no longer see the result: it is unsafe and never applied unasked. Where the call is no statement of its own, or `out` no
variable, there is no fix.

## Runtime check

```python
# raises: RuntimeError "don't support automatic differentiation"
double(torch.ones(2))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import OutWrite
    from gradlint.fix import Source


class OutWithGrad(Rule):
    """`out=` with tensors on the graph."""

    code = "GRD309"
    name = "out-with-grad"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}(out=...)` cannot be differentiated, and `{tracked}` requires grad"
    help = "assign the result, or turn gradients off"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report writes by `out=` with gradients on and something that requires grad."""
        for write in facts.out_writes:
            into = write.target.attached and not write.target.leaf
            if not write.modes.records or not (write.tracked or into):
                continue
            message = (
                None if write.tracked else "`{op}(out=...)` cannot be differentiated, and `{tracked}` is on the graph"
            )
            tracked = write.tracked or write.target.name or "the target"
            yield self.finding(write.span, fact=write, message=message, op=write.op, tracked=tracked)

    def fix(self, fact: OutWrite, source: Source) -> Fix:
        """Assign the result."""
        return Fix(Safety.UNSAFE, "assign the result", inplace.without_out(source, fact.span))
