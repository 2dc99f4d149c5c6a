"""Backward runs on a value that was computed with gradients off, so it has no graph to go through.

## Why this is wrong

While gradients are off (`torch.no_grad()`, `torch.inference_mode()`, `torch.set_grad_enabled(False)`, the
`forward` of a `torch.autograd.Function`), torch computes values but records no operations. A loss made there does not
require grad and has no `grad_fn`. `loss.backward()` and `torch.autograd.grad(loss, ...)` then raise
`RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn`.

What counts is the mode in which the value is *computed*. Where backward itself is called does not matter: the backward
of a loss that was computed with gradients on may well stand inside `torch.no_grad()`.

## Examples

The whole step stands in the block that was meant for evaluation:

```python
import torch


def training_step(model, x):
    with torch.no_grad():
        loss = model(x).pow(2).mean()
        loss.backward()  # error
    return loss
```

Leaving the block does not bring the graph back:

```python
import torch


def train(model, loader, criterion, optimizer, scaler):
    for inputs, labels in loader:
        optimizer.zero_grad()
        with torch.no_grad():
            loss = criterion(model(inputs), labels)
        scaler.scale(loss).backward()  # error
        scaler.step(optimizer)
        scaler.update()
```

The mode may come from a decorator or from the caller:

```python
import torch


def _step(model, inputs):
    model(inputs).sum().backward()  # error


@torch.no_grad()
def sensitivity(model, inputs):
    _step(model, inputs)
    return [p.grad for p in model.parameters()]
```

## Use instead

Compute the loss with gradients on:

```python
import torch


def training_step(model, x):
    loss = model(x).pow(2).mean()
    loss.backward()
    return loss
```

Where the caller has gradients off for a reason, turn them on for the part that needs them:

```python
import torch


@torch.no_grad()
def input_gradient(model, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(model(x).sum(), x)[0]
```

## Known limits

Only a value that was computed with gradients off *for sure* is reported. A backward that a function runs only for those
who ask for it by an argument is reported where a call with gradients off surely asks for it. Where one flag decides
both the mode and the call of backward, the rule stays silent:

```python
import torch


def run_epoch(model, loader, criterion, optimizer, training):
    for inputs, labels in loader:
        with torch.set_grad_enabled(training):
            loss = criterion(model(inputs), labels)
        if training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
```

A caller's mode is seen where the caller stands among the files that are linted and calls the function by name. In
`inference_mode`, even `torch.enable_grad()` does not bring gradients back; that is another rule's business.

## Fix safety

The fix turns the region in which the value was computed, a `with` block or a decorator of the same function, into one
with gradients: it writes `enable_grad()` there. That changes memory use and results, so it is unsafe and never applied
unasked. Where the region edits something in place, or a caller turns gradients off, there is no fix.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
training_step(nn.Linear(4, 1), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Backward, Facts
    from gradlint.fix import Source


class BackwardWithoutGraph(Rule):
    """Backward on a value computed with gradients off."""

    code = "GRD101"
    name = "backward-without-graph"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}` has no graph to go through: `{target}` was computed with gradients off"
    help = "compute `{target}` outside the region without gradients, or under `torch.enable_grad()` inside it"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report backward calls whose target is certainly untracked because of the gradient mode."""
        inside = {inner.span for inner in facts.inner_backwards}
        for backward in facts.backwards:
            target = backward.target
            if not target.off_graph or target.flagged or backward.span in inside:
                continue
            yield self.finding(
                backward.span,
                because=(*target.because(), (backward.span, "backward here")),
                fact=backward,
                certainty=Certainty.CERTAIN if target.surely_off else Certainty.LIKELY,
                call=backward.how,
                target=target.name or "the value",
            )

    def fix(self, fact: Backward, source: Source) -> Fix:
        """Turn gradients on for the region in which the target was computed."""
        return Fix(Safety.UNSAFE, "turn gradients on in this region", modes.recording(source, fact))
