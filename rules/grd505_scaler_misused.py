"""A gradient scaler is left out where its scale has to be undone, or gets no say in the loss.

## Why this is wrong

`scaler.scale(loss).backward()` computes gradients that are many times too large (65536 times to begin with), so that
small ones survive in half precision. `scaler.step(optimizer)` divides by the scale before it applies them, or
`scaler.unscale_(optimizer)` does so earlier. What reads the gradients in between reads scaled ones: clipping to a norm
of 1 shrinks every gradient to next to nothing once the scale is divided out. `optimizer.step()` applies them as they
are. `scaler.scale(loss)` as a statement scales nothing, for the result is dropped; and a scaler that nobody updates
refuses its second step. Only the last of these raises.

## Examples

```python
import torch


def step(model, optimizer, scaler, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    scaler.scale(loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # error
    scaler.step(optimizer)
    scaler.update()
```

The scaled loss is dropped:

```python
import torch


def train(model, loader, criterion, optimizer, scaler):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        scaler.scale(loss)  # error
        loss.backward()
        scaler.step(optimizer)
        scaler.update()
```

## Use instead

```python
import torch


def step(model, optimizer, scaler, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
```

## Known limits

Where an `unscale_` runs on some path before, it is taken to run where the loss was scaled. A step without the scaler is
reported only if nothing in the file steps or unscales with one. Code that asks a scaler for its scale undoes it by
hand:

```python
import torch


def by_hand(model, optimizer, scaler, loss):
    scaler.scale(loss).backward()
    for p in model.parameters():
        p.grad.div_(scaler.get_scale())
    optimizer.step()
```

A variable counts as a scaler if `torch.amp.GradScaler` made it, or if it is called one and is of no other class. Hooks
that clip are not seen.

## Fix safety

The fix writes `scaler.unscale_(optimizer)` in front of the call that clips. It changes the results of training: it is
unsafe and never applied unasked. For the other forms there is none.

## Runtime check

```python
# shows: model.weight.grad.norm() < 0.01
model = nn.Linear(2, 1)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
step(model, optimizer, scaler, torch.ones(3, 2), torch.full((3, 1), 9.0))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, stepping
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.protocol import ScalerMisuse
    from gradlint.fix import Source


MESSAGES = {
    "clip": "`{call}` clips gradients that are still scaled: `{scaler}.unscale_` has not run",
    "plain": "`{call}` applies gradients of a loss that `{scaler}` has scaled",
    "dropped": "the result of `{call}` is dropped: backward starts from a loss that is not scaled",
    "update": "`{call}` runs in a loop, and nothing calls `{scaler}.update()`",
}
HELPS = {
    "clip": "call `{scaler}.unscale_(optimizer)` before",
    "plain": "call `{scaler}.step(optimizer)` and `{scaler}.update()`",
    "dropped": "write `{scaler}.scale(loss).backward()`",
    "update": "call `{scaler}.update()` after the step",
}


class ScalerMisused(Rule):
    """Scaled gradients that are clipped or applied as they are, and losses that are not scaled."""

    code = "GRD505"
    name = "scaler-misused"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` does not go with `{scaler}`"
    help = "scale the loss, go backward, unscale, clip, step and update, in this order"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what is done with scaled gradients before they are unscaled."""
        for fact in facts.scaler_misuses:
            yield self.finding(
                fact.span,
                fact.because,
                fact=fact,
                message=MESSAGES[fact.form],
                help=HELPS[fact.form],
                call=fact.call,
                scaler=fact.scaler,
            )

    def fix(self, fact: ScalerMisuse, source: Source) -> Fix:
        """Unscale in front of the call that clips."""
        if fact.form != "clip":
            raise NoFix("more than one call has to change")
        return Fix(Safety.UNSAFE, f"call `{fact.scaler}.unscale_` before", stepping.unscaled(source, fact))
