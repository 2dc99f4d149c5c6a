"""A target that should be a number is on the graph of the network that learns from it.

## Why this is wrong

The error of a prediction can be made smaller in two ways: by changing the prediction, or by changing the target. Where
the target is computed by the same network and not detached, the gradient is that of both, which is not the update that
the method asks for and may point the other way. An advantage on the graph trains the value network to make actions look
better or worse than they are. And the ratio of a probability to itself is one, whose gradient is exactly zero: the old
log-probability must be a number.

## Examples

```python
import torch
import torch.nn.functional as F


def q_learning(net, optimizer, state, action, reward, next_state, gamma=0.9):
    q = net(state).gather(1, action).squeeze(1)
    target = reward + gamma * net(next_state).max(1)[0]  # error
    loss = F.mse_loss(q, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

```python
import torch


def actor_critic(actor, critic, optimizer, state, action, returns):
    log_prob = torch.distributions.Categorical(logits=actor(state)).log_prob(action)
    value = critic(state).squeeze(1)
    advantage = returns - value
    loss = -(log_prob * advantage).mean() + advantage.pow(2).mean()  # error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

## Use instead

```python
import torch
import torch.nn.functional as F


def q_learning(net, optimizer, state, action, reward, next_state, gamma=0.9):
    q = net(state).gather(1, action).squeeze(1)
    with torch.no_grad():
        target = reward + gamma * net(next_state).max(1)[0]
    loss = F.mse_loss(q, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

```python
import torch


def actor_critic(actor, critic, optimizer, state, action, returns):
    log_prob = torch.distributions.Categorical(logits=actor(state)).log_prob(action)
    value = critic(state).squeeze(1)
    advantage = returns - value
    loss = -(log_prob * advantage.detach()).mean() + advantage.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

## Known limits

Targets are known by their form and their names: a reward and a discounted value, a log-probability and an advantage. A
target that another function computes is not looked at. A target network of its own, which no optimizer updates, changes
no gradient of the network that learns: that its graph is built in vain is reported as `possible`, which is hidden by
default.

```python
import torch
import torch.nn.functional as F


def q_learning(net, target_net, optimizer, state, action, reward, next_state, gamma=0.9):
    q = net(state).gather(1, action).squeeze(1)
    loss = F.mse_loss(q, reward + gamma * target_net(next_state).max(1)[0])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

Methods that want the gradient of both sides, residual-gradient algorithms, are rare: suppress the finding there.

## Fix safety

The fix puts the forward that is only for the target under `torch.no_grad()`, or writes `.detach()` behind what should
be a number. The gradients change, which is the point of it: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: not net.weight.grad.allclose(wanted)
torch.manual_seed(0)
net = nn.Linear(4, 2)
state, next_state = torch.randn(3, 4), torch.randn(3, 4)
action, reward = torch.zeros(3, 1, dtype=torch.long), torch.ones(3)
target = (reward + 0.9 * net(next_state).max(1)[0]).detach()
loss = nn.functional.mse_loss(net(state).gather(1, action).squeeze(1), target)
wanted = torch.autograd.grad(loss, net.weight)[0]
q_learning(net, torch.optim.SGD(net.parameters(), lr=0.0), state, action, reward, next_state)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import detaching, first, modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.targets import AttachedTarget
    from gradlint.fix import Source

CONSEQUENCES = {
    "bootstrapped": "is computed by `{maker}` and not detached: the loss trains it towards the prediction as well",
    "advantage": "is not detached: the loss of the policy trains the value as well",
    "old": "is not detached: its gradient cancels that of the new log-probability",
    "separate": "is computed by `{maker}` with a graph that trains nothing",
}


class UndetachedTarget(Rule):
    """Targets, advantages and old probabilities on the graph."""

    code = "GRD410"
    name = "undetached-target"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "{target} {consequence}"
    help = "compute it inside `torch.no_grad()`, or detach it"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report what should be a number in a loss and is on the graph."""
        for attached in facts.attached_targets:
            yield self.finding(
                attached.span,
                attached.because,
                fact=attached,
                certainty=Certainty.POSSIBLE if attached.form == "separate" else None,
                target=attached.target if " " in attached.target else f"`{attached.target}`",
                consequence=CONSEQUENCES[attached.form].format(maker=attached.maker),
            )

    def fix(self, fact: AttachedTarget, source: Source) -> Fix:
        """Run what is for the target only without a graph; detach what is used otherwise as well."""
        guarded = ("compute the target with gradients off", lambda: modes.guarded(source, fact.forward or fact.span))
        detached = ("detach it", lambda: detaching.argument(source, fact.span))
        return first(Safety.UNSAFE, *([guarded] if fact.forward is not None else []), detached)
