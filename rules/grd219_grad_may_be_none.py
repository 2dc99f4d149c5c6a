"""A gradient is used that nothing has filled, or is set to a number.

## Why this is wrong

`.grad` of a leaf is `None` until a backward has reached it, and again after `zero_grad()`. Whatever is done to it
before raises `AttributeError: 'NoneType' object has no attribute 'zero_'`: the first iteration of a loop that begins by
clearing is the usual place. That of a tensor which does not require grad, a detached one for example, stays `None`.
`w.grad = 0` is no way to clear either: torch takes a tensor or `None`, and raises `TypeError`.

## Examples

```python
import torch


def descend(lr):
    w = torch.zeros(3, requires_grad=True)
    for _ in range(10):
        w.grad.zero_()  # error
        (w - 1).pow(2).sum().backward()
        with torch.no_grad():
            w -= lr * w.grad
    return w
```

```python
import torch


def clear():
    w = torch.zeros(3, requires_grad=True)
    (w - 1).pow(2).sum().backward()
    w.grad = 0  # error
```

Gradients that come from elsewhere are added to what `zero_grad` has set to `None`; before torch 2.0 it left zeros:

```python
import torch


def apply(model, optimizer, gradients: list[torch.Tensor]):
    optimizer.zero_grad()
    for p, g in zip(model.parameters(), gradients):
        p.grad += g  # error
    optimizer.step()
```

## Use instead

```python
import torch


def descend(lr):
    w = torch.zeros(3, requires_grad=True)
    for _ in range(10):
        (w - 1).pow(2).sum().backward()
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w
```

```python
import torch


def apply(model, optimizer, gradients: list[torch.Tensor]):
    for p, g in zip(model.parameters(), gradients):
        p.grad = g.clone()
    optimizer.step()
```

## Known limits

Reported only for leaves and layers that the function itself makes, and only where the first use surely comes before any
backward; for tensors that it makes or detaches, and for which nothing asks to require grad; and behind `zero_grad`,
where all parameters of a model are gone through in the same function or class. Parameters that a model does not use
have no gradient either; that is not looked for. What asks first is silent:

```python
import torch


def guarded():
    w = torch.zeros(3, requires_grad=True)
    for _ in range(3):
        if w.grad is not None:
            w.grad.zero_()
        w.sum().backward()
    return w.grad
```

## Fix safety

For `w.grad = 0` the fix writes `w.grad = None`. Before a statement that clears, it puts `if w.grad is not None:`, and
where something is added to a gradient that `zero_grad` has set to None, `w.grad = g if w.grad is None else w.grad + g`.
Behind what makes a tensor that does not require grad it writes `.requires_grad_()`, unless that is edited in place.
Other uses get none, for what should happen without a gradient is not known. The failing statement becomes one that does
something else: it is unsafe and never applied unasked.

## Runtime check

```python
# raises: AttributeError "zero_"
descend(0.1)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import leaves
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import MissingGradient
    from gradlint.fix import Source

MESSAGES = {
    "number": "`{written}` raises: a gradient is a tensor or None",
    "cleared": "`{written}`: `{name}.grad` is None here: `zero_grad` has set it to None, and no backward has filled it",
    "untracked": "`{written}`: `{name}.grad` is None here, for `{name}` does not require grad",
}
HELP = {
    "number": "set it to None",
    "untracked": "call `requires_grad_()` on it before anything is computed from it",
}


class GradMayBeNone(Rule):
    """A gradient that is not there."""

    code = "GRD219"
    name = "grad-may-be-none"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{written}`: `{name}.grad` is None here, for no backward has filled it"
    help = "use it after a backward, or ask whether it is None"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report uses of gradients before any backward, and gradients set to what is no tensor."""
        for fact in facts.missing_gradients:
            message, advice = MESSAGES.get(fact.form), HELP.get(fact.form)
            yield self.finding(
                fact.span, fact.because, fact=fact, message=message, help=advice, written=fact.written, name=fact.name
            )

    def fix(self, fact: MissingGradient, source: Source) -> Fix:
        """Make the tensor require grad, ask first, or clear by None."""
        if fact.form == "untracked":
            return Fix(Safety.UNSAFE, "make the tensor require grad", leaves.tracked(source, fact))
        return Fix(Safety.UNSAFE, "ask whether there is a gradient", leaves.asked(source, fact))
