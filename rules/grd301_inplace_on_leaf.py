"""A leaf that requires grad is edited in place while gradients are on.

## Why this is wrong

A leaf that requires grad (an `nn.Parameter`, or a tensor on which `requires_grad` was set) is where backward delivers
its gradient. An in-place edit with gradients on would make it the result of an operation, and there would be no leaf
left to deliver to. torch refuses:
`RuntimeError: a leaf Variable that requires grad is being used in an in-place operation`, and for `w[0] = ...` and
other views, `a view of a leaf Variable that requires grad is being used in an in-place operation`.

In-place edits are methods with a trailing underscore, augmented assignments (`w -= ...`), item assignments, functions
with `inplace=True`, `torch._foreach_*_`.

## Examples

```python
import torch


def descend(w, loss_fn, lr):
    loss_fn(w).backward()
    w -= lr * w.grad  # error
    w.grad = None
```

A custom optimizer:

```python
import torch


class PlainSGD(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["lr"])  # error
```

Initialisation and views:

```python
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.weight.uniform_(-1, 1)  # error
        self.weight[0] = 1.0  # error
```

A total that starts as a leaf:

```python
import torch


def total_loss(losses):
    total = torch.zeros(1, requires_grad=True)
    for loss in losses:
        total += loss  # error
    return total
```

## Use instead

Turn gradients off for the edit:

```python
import torch


def descend(w, loss_fn, lr):
    loss_fn(w).backward()
    with torch.no_grad():
        w -= lr * w.grad
    w.grad = None
```

`torch.nn.init` does so itself, and a total needs no `requires_grad`:

```python
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        nn.init.uniform_(self.weight, -1, 1)


def total_loss(losses):
    total = torch.zeros(())
    for loss in losses:
        total += loss
    return total
```

## Known limits

Only what is known to be a leaf that requires grad is reported: the parameter of a function is not, unless a call in the
same file hands it one. In a method `reset_parameters` that nobody in sight calls it is only possible: FSDP calls that
with gradients off. Frozen parameters,
buffers, `.data`, `.grad`, copies by boolean or list index, and code that runs with gradients off for another reason
(a decorated caller, a post-accumulate hook, the `forward` of a `torch.autograd.Function`) are silent:

```python
import torch


@torch.no_grad()
def clip_weights(model, bound):
    for p in model.parameters():
        p.clamp_(-bound, bound)
```

## Fix safety

The fix puts the edit under `torch.no_grad()`, or writes a total of losses as `total = total + loss`. For a weight
update the first is what was meant; where the edit was meant to be part of the differentiated computation it is wrong,
so it is unsafe and never applied unasked. Where the value of the edit is used there is no fix.

## Runtime check

```python
# raises: RuntimeError "a leaf Variable that requires grad"
descend(torch.ones(2, requires_grad=True), lambda w: w.pow(2).sum(), 0.1)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Edit, Facts
    from gradlint.fix import Source


class InplaceOnLeaf(Rule):
    """In-place edit of a leaf that requires grad, with gradients on."""

    code = "GRD301"
    name = "inplace-on-leaf"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` in place, a leaf that requires grad"
    help = "edit it inside `torch.no_grad()`, or compute a new tensor"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report in-place edits, made with gradients on, of leaves that require grad and of their views."""
        for edit in facts.edits:
            if edit.writes_leaf and edit.modes.records:
                handed = ((edit.called, "a leaf is handed over here"),) if edit.called else edit.handed_over()
                because = (*facts.unguarded, *handed)
                target = edit.target.name or "the tensor"
                certainty = Certainty.POSSIBLE if edit.left_to_others else Certainty.LIKELY
                yield self.finding(edit.span, because, fact=edit, certainty=certainty, op=edit.op, target=target)

    def fix(self, fact: Edit, source: Source) -> Fix:
        """Edit the leaf with gradients off; a total of losses is rather computed anew."""
        if fact.inside is not None:
            raise NoFix("the edit stands in a function that others may call")
        if inplace.sums_up(source, fact):
            return Fix(Safety.UNSAFE, "compute a new tensor", inplace.rebound(source, fact))
        return Fix(Safety.UNSAFE, "edit it with gradients off", inplace.without_gradients(source, fact))
