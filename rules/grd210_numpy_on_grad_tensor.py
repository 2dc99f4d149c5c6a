"""A tensor on the graph is given to numpy, which torch refuses, or goes through numpy on its way to the loss.

## Why this is wrong

numpy knows nothing of the graph. While gradients are on, torch does not hand it a tensor that requires grad:
`RuntimeError: Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.` The same meets
`np.asarray(t)`, `np.mean(losses)` and everything else that makes an array of its argument. It often hides in code that
runs late: the evaluation at the end of an epoch, a plot, a file that is saved.

`.detach()` ends the error, and where the array becomes part of the loss again, it ends training too: no gradient comes
back through numpy.

## Examples

```python
import torch


def step(model, criterion, optimizer, x, y):
    out = model(x)
    optimizer.zero_grad()
    criterion(out, y).backward()
    optimizer.step()
    return out.cpu().numpy()  # error
```

```python
import numpy as np
import torch


def train(model, loader, criterion, optimizer):
    losses = []
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return np.mean(losses)  # error
```

Through numpy and back, the loss has no graph left:

```python
import numpy as np
import torch
import torch.nn.functional as F


def smoothed_step(model, x, y):
    out = np.tanh(model(x).detach().numpy())  # error
    F.mse_loss(torch.from_numpy(out), y).backward()
```

## Use instead

```python
import torch


def step(model, criterion, optimizer, x, y):
    out = model(x)
    optimizer.zero_grad()
    criterion(out, y).backward()
    optimizer.step()
    return out.detach().cpu().numpy()


@torch.no_grad()
def predict(model, x):
    return model(x).cpu().numpy()
```

For a mean of losses, keep numbers:

```python
import numpy as np
import torch


def train(model, loader, criterion, optimizer):
    losses = []
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.mean(losses)
```

What the loss depends on is computed with torch:

```python
import torch
import torch.nn.functional as F


def smoothed_step(model, x, y):
    F.mse_loss(torch.tanh(model(x)), y).backward()
```

## Known limits

A part of what a model returns, as in `boxes, labels = model(x)`, may be of integers and need no gradient; it is
reported as possible only, which is hidden by default. So is what a function returns that others may call with gradients
off. Inside `no_grad` torch hands out any tensor, and what is detached or compared is legal:

```python
import torch


def labels(model, x):
    return model(x).argmax(dim=1).numpy()


def weights(model):
    with torch.no_grad():
        return model.weight.numpy()
```

## Fix safety

The fix writes `.detach()` in front of the conversion. Whether a gradient was meant to come back through the array is
not known, and then the computation belongs into torch: the fix is unsafe. There is none for lists of tensors and for
round trips.

## Runtime check

```python
# raises: RuntimeError "Can't call numpy() on Tensor that requires grad"
model = nn.Linear(4, 1)
step(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(2, 4), torch.ones(2, 1))
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
    from gradlint.facts.leaves import ArrayUse
    from gradlint.fix import Source

ROUND_TRIP = "`{call}` makes an array of `{target}`, which the loss is computed from: {effect}"
STAY = "compute it with torch: no gradient comes back through an array"


class NumpyOnGradTensor(Rule):
    """A tensor that requires grad, made an array."""

    code = "GRD210"
    name = "numpy-on-grad-tensor"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{target}` is on the graph: `{call}` raises, for numpy takes no tensor that requires grad"
    help = "write `{target}.detach()`, or compute it inside `torch.no_grad()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report tensors on the graph that numpy gets, and arrays on the way to a loss."""
        for use in facts.arrays:
            yield self.finding(
                use.span,
                ((use.target.made, "computed here"),) if use.target.made else (),
                fact=use,
                certainty=Certainty.LIKELY if use.known else Certainty.POSSIBLE,
                help="store `.detach()` or numbers" if use.inside else None,
                target=use.target.name or "the tensor",
                call=f"{use.call}()" if use.method else f"{use.call}(...)",
            )
        for cut in facts.lost_graphs:
            if cut.kind == "array" and all(use.span != cut.span for use in facts.arrays):
                effect = "backward stops there" if cut.whole else "it adds nothing to any gradient"
                yield self.finding(
                    cut.span,
                    cut.because,
                    message=ROUND_TRIP,
                    help=STAY,
                    call=cut.call,
                    target=cut.name or "the value",
                    effect=effect,
                )

    def fix(self, fact: ArrayUse, source: Source) -> Fix:
        """Detach what is made an array."""
        return Fix(Safety.UNSAFE, "detach it first", detaching.before_array(source, fact))
