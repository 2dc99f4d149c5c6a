"""A hook edits the gradient that it is given, returns what it must not, or replaces an output by one without a graph.

## Why this is wrong

The gradient that a hook is given is not its own: addition hands one tensor to both of its branches, so that an edit in
place reaches the sibling as well, or an operation that saved it. A new gradient is *returned*. A hook that runs after
the gradient was accumulated must return nothing: torch raises `Tensor post accumulate grad hooks should return None`.
And what a forward hook returns replaces the output: `return out.detach()` cuts everything in front of it off the loss,
silently.

## Examples

```python
import torch


def halved(x, w):
    h = x * w
    h.register_hook(lambda grad: grad.mul_(0.5))  # error
    return (h + w).sum()
```

```python
import torch


def update_in_backward(parameters):
    for p in parameters:
        p.register_post_accumulate_grad_hook(lambda p: p.data.add_(p.grad, alpha=-0.1))  # error
```

```python
import torch


def watch(layer, seen):
    def hook(module, inputs, output):
        seen["output"] = output
        return output.detach()  # error

    layer.register_forward_hook(hook)
```

## Use instead

```python
import torch


def halved(x, w):
    h = x * w
    h.register_hook(lambda grad: grad * 0.5)
    return (h + w).sum()
```

```python
import torch


def update_in_backward(parameters):
    def update(p):
        p.data.add_(p.grad, alpha=-0.1)

    for p in parameters:
        p.register_post_accumulate_grad_hook(update)
```

```python
import torch


def watch(layer, seen):
    def hook(module, inputs, output):
        seen["output"] = output.detach()

    layer.register_forward_hook(hook)
```

## Known limits

The hook must be a function of the same file. Edits of a copy are right, and hooks may look at what they are given:

```python
import torch


def clipped(h, norms):
    def hook(grad):
        norms.append(grad.norm())
        grad = grad.clone()
        grad[grad > 1] = 1
        return grad

    h.register_hook(hook)
```

What a layer's backward hands to its weight is made for it, and an edit in place reaches nobody else. This is taken
for so with every parameter, though one that is added to something as it is shares its gradient with that:

```python
def masked(layer, mask):
    layer.weight.register_hook(lambda grad: grad.mul_(mask))
```

That a forward hook adds outputs to a list with their graphs is reported as `possible`, which is hidden by default: a
loss on features needs them.

## Runtime check

```python
# shows: w.grad.item() == 1.0
x, w = torch.ones(1), torch.ones(1, requires_grad=True)
halved(x, w).backward()
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
    "edited": ("the hook edits `{name}` in place, which other branches share", "return a new gradient: `grad * 0.5`"),
    "returned": (
        "a hook that runs after the gradient is accumulated must return None",
        "write a function without `return`: a lambda returns what its expression is",
    ),
    "cut": (
        "what the hook returns replaces the output: `{name}.detach()` cuts off all that made it",
        "return nothing, and store what is detached",
    ),
    "stored": (
        "the hook keeps `{name}` of every call with its graph",
        "store `{name}.detach()`, and clear the list where the features are used",
    ),
}


class HookMisused(Rule):
    """Hooks that do what hooks must not do."""

    code = "GRD416"
    name = "hook-misused"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "the hook does what hooks must not do"
    help = "return a new gradient, or nothing"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report the misuses in the hooks that a body registers."""
        for misuse in facts.hook_misuses:
            message, advice = WORDS[misuse.form]
            certainty = Certainty.POSSIBLE if misuse.form == "stored" else None
            yield self.finding(
                misuse.span, misuse.because, certainty=certainty, message=message, help=advice, name=misuse.name
            )
