"""Gradients are clipped where that does not bound the step.

## Why this is wrong

`clip_grad_norm_` and `clip_grad_value_` change the gradients that are there when they are called. Before `backward()`
there are none, or old ones; after `step()` they have been applied. Clipping at every micro-batch of an accumulation
shrinks what the earlier ones have left again and again, so that the last one weighs most; the sum that is stepped is
not what was meant to be bounded. Nothing raises, and a single large batch does the damage that clipping was there to
prevent.

Parameters of another model have no gradients: clipping them returns a norm of 0 and does nothing. A module, or
`model.parameters` without parentheses, is no list of parameters, and torch raises a `TypeError`.

## Examples

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-6)  # error
    loss.backward()
    optimizer.step()
```

```python
from torch.nn.utils import clip_grad_norm_


def train(model, loader, criterion, optimizer, every):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / every
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)  # error
        if (i + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
```

## Use instead

```python
import torch


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-6)
    optimizer.step()
```

```python
from torch.nn.utils import clip_grad_norm_


def train(model, loader, criterion, optimizer, every):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / every
        loss.backward()
        if (i + 1) % every == 0:
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
```

## Known limits

With an infinite limit the call only tells the norm, which may be asked for at any time. Clipping weights
(`p.data.clamp_(-1, 1)`) is a method of its own and is not taken for a misspelt one:

```python
import torch


def critic_step(critic, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for p in critic.parameters():
        p.data.clamp_(-0.01, 0.01)
```

A function in another file that clips is not seen to do so. Where callers say by a flag, as in
`backward(loss, update=False)`, that a pass ends no accumulation, a clip that does not ask for it is one at every
micro-batch.

## Fix safety

The fix moves the call in front of the step; inside of `accelerator.accumulate()` it asks
`accelerator.sync_gradients` first. It changes the results of training: it is unsafe and never applied unasked.
There is none where clipping and step do not stand in one function, and where the norm that the call returns is used.

## Runtime check

```python
# shows: model.weight.grad.norm() > 1e-3
model = nn.Linear(2, 1)
step(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(3, 2), torch.full((3, 1), 9.0))
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
    from gradlint.facts.protocol import MisplacedClip
    from gradlint.fix import Source


MESSAGES = {
    "before": "`{call}` runs before the gradients that `{step}` applies are computed",
    "after": "`{call}` runs after `{step}` has applied the gradients",
    "micro-batch": "`{call}` clips at every micro-batch what `{step}` applies as a sum",
    "other": "`{call}` clips a model that has no gradients here; `{step}` applies those of another",
    "refused": "`{call}` is given {detail}, where torch wants parameters",
}
HELPS = {
    "other": "clip the parameters that the optimizer has",
    "refused": "write `clip_grad_norm_(model.parameters(), ...)`",
}


class ClipMisplaced(Rule):
    """Gradients clipped before they are computed, after they are applied, or one micro-batch at a time."""

    code = "GRD504"
    name = "clip-misplaced"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{call}` does not bound what `{step}` applies"
    help = "clip between the last backward and the step"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report clipping that does not bound the step."""
        for fact in facts.misplaced_clips:
            yield self.finding(
                fact.span,
                fact.because,
                fact=fact,
                message=MESSAGES[fact.form],
                help=HELPS.get(fact.form),
                call=fact.call,
                step=fact.step,
                detail=fact.detail,
            )

    def fix(self, fact: MisplacedClip, source: Source) -> Fix:
        """Clip in front of the step."""
        if fact.form in HELPS:
            raise NoFix("what to clip is not known")
        words = f"ask `{fact.detail}.sync_gradients`" if fact.detail else f"move `{fact.call}` in front of the step"
        return Fix(Safety.UNSAFE, words, stepping.before_step(source, fact))
