"""The discriminator's loss is computed from what the generator made, without `detach()`.

## Why this is wrong

A pass for the discriminator is to train the discriminator. Where its input still hangs on the generator's graph, the
pass goes on through the generator: it frees the graph that the generator's own pass needs, which then raises `backward
through the graph a second time`, or it leaves gradients there that say how to make *worse* fakes, to which the
generator's own pass adds its own. If nothing clears them in between, they cancel.

## Examples

```python
import torch


def train(generator, discriminator, opt_g, opt_d, criterion, loader):
    for x, y in loader:
        opt_d.zero_grad()
        opt_g.zero_grad()
        fake = generator(x)
        d_loss = criterion(discriminator(x), y) + criterion(discriminator(fake), -y)  # error
        d_loss.backward(retain_graph=True)
        opt_d.step()
        g_loss = criterion(discriminator(fake), y)
        g_loss.backward()
        opt_g.step()
```

## Use instead

```python
import torch


def train(generator, discriminator, opt_g, opt_d, criterion, loader):
    for x, y in loader:
        opt_d.zero_grad()
        opt_g.zero_grad()
        fake = generator(x)
        d_loss = criterion(discriminator(x), y) + criterion(discriminator(fake.detach()), -y)
        d_loss.backward()
        opt_d.step()
        g_loss = criterion(discriminator(fake), y)
        g_loss.backward()
        opt_g.step()
```

Passing through the discriminator a second time is right: only this graph leads to the generator, and the first one
belongs to weights that the step has changed.

## Known limits

Both passes and both steps must stand in one function. Where the fakes are made anew for the generator's pass, and its
gradients are cleared before, the gradients of the discriminator's pass are only computed in vain: that is reported as
`possible`, which is hidden by default.

```python
import torch


def train(generator, discriminator, opt_g, opt_d, criterion, loader):
    for x, y in loader:
        opt_d.zero_grad()
        criterion(discriminator(generator(x)), -y).backward()
        opt_d.step()
        opt_g.zero_grad()
        criterion(discriminator(generator(x)), y).backward()
        opt_g.step()
```

## Fix safety

The fix writes `.detach()` behind what the discriminator is given. The generator's gradients change where they were
mixed: it is unsafe and never applied unasked. There is none where the fakes are made right there, as in
`discriminator(generator(x))`: nobody needs their graph, and the generator should run inside `torch.no_grad()`.

## Runtime check

```python
# shows: not all(p.grad.equal(q) for p, q in zip(generator.parameters(), alone))
torch.manual_seed(0)
generator, discriminator = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 1)
opt_g = torch.optim.SGD(generator.parameters(), lr=0.1)
opt_d = torch.optim.SGD(discriminator.parameters(), lr=0.0)
x, y = torch.ones(3, 4), torch.ones(3, 1)
alone = torch.autograd.grad(nn.MSELoss()(discriminator(generator(x)), y), list(generator.parameters()))
train(generator, discriminator, opt_g, opt_d, nn.MSELoss(), [(x, y)])
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, detaching
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.targets import FedOpponent
    from gradlint.fix import Source

CONSEQUENCES = {
    "walked": "goes through `{maker}`, whose own pass walks the same graph",
    "mixed": "leaves gradients in `{maker}`, and its own pass adds to them",
    "wasted": "goes through `{maker}` for nothing",
}


class UndetachedGeneratorOutput(Rule):
    """Fakes with a graph in the loss of the discriminator."""

    code = "GRD409"
    name = "undetached-generator-output"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{given}` is not detached: the pass for `{judge}` {consequence}"
    help = "detach it here, and keep its graph for the other pass"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what a discriminator is given with the graph of a generator, in a pass for the discriminator."""
        for fed in facts.fed_opponents:
            yield self.finding(
                fed.span,
                fed.because,
                fact=fed,
                certainty=Certainty.POSSIBLE if fed.form == "wasted" else None,
                given=fed.given,
                judge=fed.judge,
                consequence=CONSEQUENCES[fed.form].format(maker=fed.maker),
            )

    def fix(self, fact: FedOpponent, source: Source) -> Fix:
        """Detach what the discriminator is given; what is made for it alone is better made without a graph."""
        if fact.given.endswith("(...)"):
            raise NoFix("it should be made with gradients off")
        return Fix(Safety.UNSAFE, "detach what the discriminator is given", detaching.argument(source, fact.span))
