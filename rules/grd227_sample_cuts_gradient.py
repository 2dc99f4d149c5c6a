"""The loss is computed from `sample()` of a distribution, through which no gradient comes back to its parameters.

## Why this is wrong

`Distribution.sample()` draws with gradients off: the sample is a constant, and the network that computed the mean and
the scale learns nothing from it. If the loss depends on nothing else, backward raises `element 0 of tensors does not
require grad and does not have a grad_fn`.

`rsample()` draws by a formula in the parameters, and the gradient goes through. Where a distribution has none, as
`Categorical`, one trains by the probability of the sample: `-(log_prob(action) * reward)`.

## Examples

```python
import torch
import torch.nn.functional as F
from torch.distributions import Normal


def step(encoder, x, y):
    z = Normal(encoder(x), 1.0).sample()  # error
    F.mse_loss(z, y).backward()
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch.distributions import Normal


def step(encoder, x, y):
    z = Normal(encoder(x), 1.0).rsample()
    F.mse_loss(z, y).backward()
```

## Known limits

A loss that something else keeps on the graph, such as a decoder of the sample, is not reported: whether the encoder
should learn from it is not known. Neither is `torch.normal(mean, std)`, whose graph is there and whose gradient is
zero.

```python
import torch
from torch.distributions import Categorical


def step(actor, x, reward):
    policy = Categorical(logits=actor(x))
    action = policy.sample()
    (-policy.log_prob(action) * reward).mean().backward()
```

## Fix safety

The fix writes `rsample()`, for distributions that surely have it. Training changes: it is unsafe.

## Runtime check

```python
# raises: RuntimeError "does not require grad"
step(nn.Linear(4, 1), torch.ones(2, 4), torch.zeros(2, 1))
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
    from gradlint.facts.leaves import LostGraph
    from gradlint.fix import Source


class SampleCutsGradient(Rule):
    """A sample in the place of a reparametrized one."""

    code = "GRD227"
    name = "sample-cuts-gradient"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`sample()` draws without a gradient, and the loss is computed from it: {effect}"
    help = "draw with `rsample()`, or train by `log_prob` of the sample"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report samples that the loss is computed from."""
        for cut in facts.lost_graphs:
            if cut.kind == "sample":
                effect = "backward raises" if cut.whole else "it adds nothing to any gradient"
                yield self.finding(cut.span, cut.because, fact=cut, effect=effect)

    def fix(self, fact: LostGraph, source: Source) -> Fix:
        """Draw so that the gradient goes through."""
        return Fix(Safety.UNSAFE, "draw with `rsample()`", detaching.reparametrized(source, fact))
