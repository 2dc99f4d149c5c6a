"""A forward for evaluation builds a graph that nobody backwards.

## Why this is wrong

`model.eval()` switches dropout and batch norm; it does not switch gradients off. Each forward still records every
operation and keeps the activations that backward would need, for as long as the output lives. In evaluation,
inference, generation, rollouts, metrics and teacher forwards nobody calls backward, so the memory and the time are
spent for nothing: batches must be smaller than they could be, and outputs that are kept keep their whole graph.

## Examples

```python
import torch


def predict(model, x):
    model.eval()
    return model(x)  # error
```

```python
import torch


class Trainer:
    def __init__(self, model, criterion):
        self.model = model
        self.criterion = criterion

    def evaluate(self, val_loader):
        self.model.eval()
        total = 0.0
        for x, y in val_loader:
            total += self.criterion(self.model(x), y).item()  # error
        return total / len(val_loader)
```

A method that a module has for inference, beside the `forward` that it is trained through:

```python
import torch


class Vocoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Linear(80, 256)

    def forward(self, mel):
        return self.layers(mel)

    def inference(self, mel):
        return self.forward(mel.clamp(min=-4.0)).flatten()  # error
```

A teacher whose output is detached anyway:

```python
import torch


def distill(student, teacher, loader, criterion, optimizer):
    teacher.eval()
    for x, _ in loader:
        target = teacher(x).detach()  # error
        loss = criterion(student(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
```

## Use instead

```python
import torch


@torch.no_grad()
def predict(model, x):
    model.eval()
    return model(x)
```

```python
import torch


class Trainer:
    def __init__(self, model, criterion):
        self.model = model
        self.criterion = criterion

    def evaluate(self, val_loader):
        self.model.eval()
        total = 0.0
        with torch.inference_mode():
            for x, y in val_loader:
                total += self.criterion(self.model(x), y).item()
        return total / len(val_loader)
```

## Known limits

That a forward is evaluation is concluded from the module's mode, the function's role, the loader and what becomes of
the output, so a finding is likely, not certain. Callers that turn gradients off, frozen models, methods such as
`generate()` that guard themselves, frameworks that run a method with gradients off, and code that differentiates in
evaluation are silent. Of what the `forward` of a module computes only what is detached right there is reported. Silent
are also the methods of a module that return a graph, unless they put the module in eval mode to predict, or are called
`inference` or the like and neither `forward` nor a loss calls them:

```python
import torch


def saliency(model, image):
    model.eval()
    image = image.clone().requires_grad_()
    return torch.autograd.grad(model(image).max(), image)[0]
```

## Fix safety

The fix puts the statement with the forward under `torch.no_grad()`; above a method that is for inference it puts the
decorator. A caller elsewhere that differentiates the result would break: it is unsafe and never applied unasked. Where
the statement computes something else that may be differentiated, such as
`criterion(student(x), teacher(x).detach())`, there is no fix.

## Runtime check

```python
# shows: out.requires_grad
out = predict(nn.Linear(2, 1), torch.ones(3, 2))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, IdleForward
    from gradlint.fix import Source


class MissingNoGrad(Rule):
    """A forward for evaluation that records a graph nobody uses."""

    code = "GRD102"
    name = "missing-no-grad"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` builds a graph that nobody backwards: {reason}"
    help = "run it inside `torch.no_grad()` or `torch.inference_mode()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report forwards that are clearly evaluation, run with gradients on, and that nothing differentiates."""
        for forward in facts.idle_forwards:
            yield self.finding(
                forward.span, because=forward.because, fact=forward, call=forward.call, reason=forward.reason
            )

    def fix(self, fact: IdleForward, source: Source) -> Fix:
        """Run the statement with gradients off, or all of a method that is for inference only."""
        if fact.whole:
            return Fix(Safety.UNSAFE, "run the method with gradients off", modes.guarded_whole(source, fact.span))
        return Fix(Safety.UNSAFE, "run it with gradients off", modes.guarded(source, fact.span))
