"""`requires_grad` of a computed tensor is set, which torch refuses.

## Why this is wrong

Only a leaf has a flag of its own: a parameter, or a tensor that was made rather than computed. Whether the result of an
operation requires grad follows from what went in. `y.requires_grad = False` raises `RuntimeError: you can only change
requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph that doesn't require
differentiation use var_no_grad = var.detach()`; `y.requires_grad_(False)` does the same, inside `no_grad` too.
Assigning `True` raises where gradients are tracked already.

A copy on another device is computed as well: `b = a.to(device); b.requires_grad = a.requires_grad` works on the CPU,
and raises as soon as `a` has to be copied.

## Examples

```python
import torch


def features(model, x):
    out = model(x)
    out.requires_grad = False  # error
    return out
```

```python
import torch


def copied(x, device):
    moved = x.to(device)
    moved.requires_grad = x.requires_grad  # error
    return moved
```

## Use instead

```python
import torch


def features(model, x):
    out = model(x)
    out = out.detach()
    return out


def copied(x, device):
    moved = x.detach().to(device)
    moved.requires_grad = x.requires_grad
    return moved
```

## Known limits

What is computed with gradients off, or from tensors that need none, is a leaf. Whether an argument requires grad is not
known, and such values are not reported:

```python
import torch


def noisy(x):
    moved = x + torch.randn_like(x)
    moved.requires_grad = True
    return moved
```

## Fix safety

The fix assigns the detached tensor instead of setting the flag to `False`. The line raised before, but where code
relied on other names of that tensor it still stands on the graph: it is unsafe. Where `True` is assigned there is none:
it is not known whether a leaf or `retain_grad()` is wanted.

## Runtime check

```python
# raises: RuntimeError "you can only change requires_grad flags of leaf variables"
features(nn.Linear(4, 1), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import detaching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import RefusedFlag
    from gradlint.fix import Source

MOVED = "`{name}` is computed where it is copied to another device: torch refuses to set its `requires_grad`"


class RequiresGradOnNonleaf(Rule):
    """The flag of a result, set by hand."""

    code = "GRD204"
    name = "requires-grad-on-nonleaf"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{name}` is computed: torch refuses to set its `requires_grad`"
    help = "write `{name} = {name}.detach()` to take it off the graph, and set the flag of that"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report flags of computed tensors that are set."""
        for flag in facts.refused_flags:
            yield self.finding(
                flag.span,
                flag.because,
                fact=flag,
                certainty=Certainty.CERTAIN if flag.sure else Certainty.LIKELY,
                message=MOVED if flag.moved else None,
                name=flag.name or "the tensor",
            )

    def fix(self, fact: RefusedFlag, source: Source) -> Fix:
        """Detach instead of setting the flag."""
        return Fix(Safety.UNSAFE, "detach it", detaching.instead_of_flag(source, fact))
