"""Gradients are asked for inside inference mode, which records nothing whatever is asked.

## Why this is wrong

Inside `torch.inference_mode()`, `torch.enable_grad()` has no effect on what is recorded, although
`torch.is_grad_enabled()` says True: results are inference tensors, require no grad, and a backward from them raises.
`torch.autograd.functional.jacobian` and its like fare worse. They find no graph, take every output for a constant, and
return zeros.

## Examples

```python
import torch


def score(energy, x):
    with torch.inference_mode():
        with torch.enable_grad():  # error
            x = x.clone().requires_grad_()
            return torch.autograd.grad(energy(x).sum(), x)[0]
```

```python
import torch
from torch.autograd.functional import jacobian


def slope(f, x):
    with torch.inference_mode():
        return jacobian(f, x)  # error
```

## Use instead

```python
import torch


def score(energy, x):
    with torch.no_grad():
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            return torch.autograd.grad(energy(x).sum(), x)[0]
```

## Known limits

`torch.inference_mode(False)` does turn gradients on again, and `torch.func` needs no graph:

```python
import torch


def slope(f, x):
    with torch.inference_mode():
        return torch.func.jacrev(f)(x)
```

A function is taken to run in inference mode only if the mode is entered in it, or by every caller in sight.

## Fix safety

The fix turns the region of inference mode into one of `no_grad`. Its results are then ordinary tensors, a little slower
and usable for training: it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
score(nn.Linear(2, 1), torch.ones(1, 2))
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
    from gradlint.facts.modes import VainEnable
    from gradlint.fix import Source


MESSAGES = {
    "enable": "`{call}` has no effect inside inference mode: nothing is recorded",
    "functional": "`{call}` returns zeros inside inference mode: nothing is recorded",
}


class EnableGradInInferenceMode(Rule):
    """`enable_grad` and `torch.autograd.functional` inside inference mode."""

    code = "GRD115"
    name = "enable-grad-in-inference-mode"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}` has no effect inside inference mode"
    help = "use `torch.no_grad()` around it, or leave inference mode with `torch.inference_mode(False)`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what asks for gradients in inference mode."""
        for fact in facts.vain_enables:
            yield self.finding(fact.span, fact.because, fact=fact, message=MESSAGES[fact.form], call=fact.call)

    def fix(self, fact: VainEnable, source: Source) -> Fix:
        """Turn inference mode into `no_grad`."""
        return Fix(Safety.UNSAFE, "use `no_grad` instead", modes.without_inference(source, fact))
