"""Something that training needs afterwards is made or changed inside inference mode.

## Why this is wrong

Everything that `torch.inference_mode()` produces is an *inference tensor*: it has no version counter, must not be saved
for backward, and must not be edited in place once the block is left. For results that is what one wants. For the parts
of a training loop it is poison that acts later, far from its cause:

- `loss.backward()`: the gradients become inference tensors. The step may still work; the next accumulating backward,
  `clip_grad_norm_` or `grad.zero_()` raises `Inplace update to inference tensor outside InferenceMode is not allowed`;
- `optimizer.step()`: momentum and the averages of Adam become inference tensors, and the next step raises;
- a module or parameter that is built, deep-copied, cast (`.double()`, `.half()`) or moved (`.cuda()`) there: its
  weights are inference tensors. Layers raise in forward, or silently get no gradient at all;
- `p.grad = ...`: the next backward cannot add to it.

`torch.no_grad()` has none of these effects.

## Examples

```python
import torch


def train_step(model, x, optimizer):
    optimizer.zero_grad()
    loss = model(x).pow(2).mean()
    with torch.inference_mode():
        loss.backward()  # error
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
```

```python
import torch
from torch import nn


def build(width):
    with torch.inference_mode():
        head = nn.Linear(width, 1)  # error
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    return head, optimizer
```

```python
import copy
import torch


def make_ema(model):
    with torch.inference_mode():
        return copy.deepcopy(model)  # error
```

```python
import torch


@torch.inference_mode()
def precise_statistics(model, batch):
    return model.double()(batch.double()).std()  # error
```

## Use instead

Keep inference mode away from training; where no gradients are wanted, use `no_grad`:

```python
import torch


def train_step(model, x, optimizer):
    optimizer.zero_grad()
    loss = model(x).pow(2).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
```

```python
import copy
import torch


def make_ema(model):
    with torch.no_grad():
        return copy.deepcopy(model)
```

## Known limits

A module that is built and used inside one inference-mode region, as inference scripts do, is not reported, nor are
edits in place of existing tensors, which keep them normal tensors. What a function does only for those who ask for it
by an argument is reported where a call in inference mode surely asks for it:

```python
import torch
from torch import nn


@torch.inference_mode()
def run(weights, x):
    model = nn.Linear(4, 1)
    model.load_state_dict(weights)
    return model(x)
```

`.to(device)` is not reported where the device is not visible: if the module is there already, nothing happens. Whether
a module is trained later is not always visible either; one that leaves the region is taken to be, unless it is put into
eval mode there. `optimizer.step()` of plain SGD without momentum keeps no state and survives, and so does a backward
whose gradients are set to None before anything adds to them; both are reported nevertheless.

## Fix safety

The fix writes `no_grad` for `inference_mode`. It costs a little speed and keeps version counters; results inside the
block stay the same. Since the block may be there to guard other code, it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "Inplace update to inference tensor"
net = nn.Linear(4, 1)
train_step(net, torch.ones(2, 4), torch.optim.SGD(net.parameters(), lr=0.1))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, InferenceUse
    from gradlint.fix import Source


class TrainingInInferenceMode(Rule):
    """Backward, step, construction, copy or cast of trained things inside inference mode."""

    code = "GRD114"
    name = "training-in-inference-mode"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}` inside inference mode turns {what} into inference tensors"
    help = "move it out of `torch.inference_mode()`, or use `torch.no_grad()` there"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report calls inside inference mode whose products training uses afterwards."""
        for use in facts.inference_uses:
            because = (*use.modes.because(), (use.span, "used here"))
            yield self.finding(use.span, because, fact=use, call=use.call, what=use.what)

    def fix(self, fact: InferenceUse, source: Source) -> Fix:
        """Turn the region into one without gradients."""
        return Fix(Safety.UNSAFE, "use `no_grad` instead", modes.without_inference(source, fact))
