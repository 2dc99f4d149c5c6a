"""A gradient is asked of something that the output was not computed from, or is computed and dropped.

## Why this is wrong

`autograd.grad` looks for its inputs in the graph of the output, by identity. `x[:, :1]` makes a new tensor each time:
it is no part of a graph that was recorded from `x`, whatever it holds. torch raises `One of the differentiated Tensors
appears to not have been used in the graph`. With `allow_unused=True` it returns None instead, which hides the mistake.

A tensor that does not require grad, a detached one for example, has no gradient that could be asked for: `One of the
differentiated Tensors does not require grad`.

What `autograd.grad` computes it returns; it fills no `.grad`. A call as a statement does nothing.

## Examples

```python
import torch


def slope_in_time(net, x):
    x = x.clone().requires_grad_()
    u = net(x)
    return torch.autograd.grad(u.sum(), x[:, :1], create_graph=True)[0]  # error
```

```python
import torch


def norms(loss, parameters):
    torch.autograd.grad(loss, parameters)  # error
    return [p.grad for p in parameters]
```

## Use instead

Ask for the gradient of what the output was computed from, and take the part of that:

```python
import torch


def slope_in_time(net, x):
    x = x.clone().requires_grad_()
    u = net(x)
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0][:, :1]
```

Or take the part first, and compute the output from it:

```python
import torch


def slope_in_time(net, x):
    t, rest = x[:, :1].clone().requires_grad_(), x[:, 1:]
    u = net(torch.cat([t, rest], dim=1))
    return torch.autograd.grad(u.sum(), t, create_graph=True)[0]
```

## Known limits

Only what nothing else reads is reported: a part that is used elsewhere in the function may be part of the graph. Of
what does not require grad the function must make it itself, and set no flag on anything it does not know. There is no
fix: whether the whole or the part is wanted is not written in the code.

```python
import torch


def slope(energy, x):
    part = x[:, :1]
    return torch.autograd.grad(energy(part).sum(), part)[0]
```

## Runtime check

```python
# raises: RuntimeError "appears to not have been used in the graph"
slope_in_time(nn.Linear(4, 1), torch.ones(3, 4))
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
    "view": "`{name}` is a new tensor, and no part of the graph that `{call}` walks",
    "leaf": "nothing is computed from `{name}`, so `{call}` finds no gradient for it",
    "dropped": "`{call}` fills no `.grad`, and what it returns is dropped",
    "untracked": "`{name}` does not require grad, so `{call}` raises",
}
HELP = {
    "view": "ask for the gradient of the whole and take the part of that, or compute the output from the part",
    "leaf": "compute the output from it, or ask for no gradient of it",
    "dropped": "use what it returns, or call `backward()`",
    "untracked": "call `requires_grad_()` on it before the output is computed from it",
}


class UnusedGradient(Rule):
    """Gradients that are not there, or that nobody takes."""

    code = "GRD412"
    name = "unused-gradient"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` is no part of the graph that `{call}` walks"
    help = "ask for the gradient of what the output is computed from"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report gradients asked of what nothing was computed from, and such that are dropped."""
        for unused in facts.unused_gradients:
            message, advice = MESSAGES[unused.form], HELP[unused.form]
            because = ((unused.made, "made here, without `requires_grad`"),) if unused.made is not None else ()
            yield self.finding(unused.span, because, message=message, help=advice, name=unused.name, call=unused.call)
