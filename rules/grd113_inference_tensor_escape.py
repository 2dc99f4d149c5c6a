"""A tensor that was computed in inference mode is used outside of it for what it does not allow.

## Why this is wrong

Inference mode makes tensors without a version counter. Outside they can be read, but an operation with gradients that
has to keep one for its backward raises "Inference tensors cannot be saved for backward", as do edits in place (also
under `no_grad`), `requires_grad_()` and `nn.Parameter(...)`. Views, `detach()` and `reshape` are inference tensors as
well; a copy (`clone()`, `stack`, arithmetic) is a normal one. What `no_grad` computes has none of these limits.

## Examples

```python
import torch
import torch.nn.functional as F


def distill(teacher, student, x):
    with torch.inference_mode():
        wanted = teacher(x)
    loss = F.mse_loss(student(x), wanted)  # error
    loss.backward()
```

```python
import torch


def attack(model, x):
    with torch.inference_mode():
        noise = torch.randn_like(x)
    noise.requires_grad_()  # error
    model(x + noise).sum().backward()
    return noise.grad
```

## Use instead

`no_grad` for what training uses, or a `clone()` made outside of inference mode:

```python
import torch
import torch.nn.functional as F


def distill(teacher, student, x):
    with torch.no_grad():
        wanted = teacher(x)
    loss = F.mse_loss(student(x), wanted)
    loss.backward()
```

## Known limits

Operations that keep nothing of the tensor take it as it is: sums, `cat`, `l1_loss`, a square of a difference. Which do
is known for torch's own operations. Of what a module keeps in an attribute, only a table that its `forward` computes
when it is first called is followed. What goes through `.to(...)` may be a copy, and is not followed:

```python
import torch
from torch import nn


def train(backbone, x, device):
    head = nn.Linear(4, 1)
    with torch.inference_mode():
        features = backbone(x)
    head(features.to(device)).sum().backward()
```

## Fix safety

The fix writes `no_grad` for `inference_mode` where the mode is entered in the same function. Values stay the same, and
a little speed is lost. Since the block may be there to guard other code, it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "Inference tensors cannot be saved for backward"
distill(nn.Linear(4, 2), nn.Linear(4, 2), torch.ones(3, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import EscapedTensor
    from gradlint.fix import Source

DONE = {
    "saved": "`{call}` keeps it for its backward",
    "edited": "it is edited outside of it",
    "flag": "it is asked to require grad outside of it",
    "parameter": "it is made a parameter outside of it",
}


class InferenceTensorEscape(Rule):
    """A tensor of inference mode in a computation with gradients."""

    code = "GRD113"
    name = "inference-tensor-escape"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "{name} was computed in inference mode, and {done}"
    help = "compute it under `torch.no_grad()`, or `clone()` it outside of inference mode"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what inference tensors do not allow."""
        for fact in facts.escaped_tensors:
            name = f"`{fact.name}`" if fact.name else "a tensor"
            done = DONE[fact.form].format(call=fact.call)
            yield self.finding(fact.span, fact.because, fact=fact, name=name, done=done)

    def fix(self, fact: EscapedTensor, source: Source) -> Fix:
        """Turn inference mode into `no_grad`."""
        return Fix(Safety.UNSAFE, "use `no_grad` instead of `inference_mode`", modes.left_for_training(source, fact))
