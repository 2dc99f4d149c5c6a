"""A generator yields inside a gradient-mode block, so the mode leaks to whoever consumes it.

## Why this is wrong

The gradient mode belongs to the thread, not to the generator. When a generator is suspended at a `yield` inside
`with torch.no_grad():`, the block has not been left, and the consumer's loop body runs with gradients off: a loss
computed there cannot be backwarded. After `break` gradients stay off for as long as the generator object is alive;
closing it while another mode is active can leave them off for good.

Decorating the generator function is different: `@torch.no_grad()` on a generator switches the mode off at every resume
and back on at every `yield`.

## Examples

```python
import torch


def features(model, batches):
    with torch.no_grad():
        for batch in batches:
            yield model(batch)  # error
```

```python
import torch


class Sampler:
    def __init__(self, model):
        self.model = model

    def walk(self, state, steps):
        with torch.inference_mode():
            for _ in range(steps):
                state = self.model(state)
                yield state  # error
```

`yield from` suspends just the same:

```python
import torch


def all_features(model, shards):
    with torch.no_grad():
        for shard in shards:
            yield from map(model, shard)  # error
```

## Use instead

```python
import torch


@torch.no_grad()
def features(model, batches):
    for batch in batches:
        yield model(batch)
```

Or leave the block before the `yield`:

```python
import torch


def features(model, batches):
    for batch in batches:
        with torch.no_grad():
            out = model(batch)
        yield out
```

## Known limits

In a context manager or a pytest fixture the suspended block is the point, and such generators are not reported:

```python
import contextlib
import torch


@contextlib.contextmanager
def evaluating(model):
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield model
    model.train(was_training)
```

A generator that is only ever consumed whole, as in `list(features(...))`, leaks nothing; it is reported nevertheless
unless it is defined next to its only use, or in a script. Where the loops of its file that run it compute nothing
meanwhile, the finding is only *possible*: others may run it elsewhere.

## Fix safety

The fix turns the block into a decorator where the generator consists of nothing else. The consumer's code then runs
with gradients on: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: seen == [False, False]
seen = [torch.is_grad_enabled() for _ in features(nn.Linear(4, 1), torch.ones(2, 1, 4))]
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import decorators
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, Suspension
    from gradlint.fix import Source


class YieldInGradMode(Rule):
    """A plain generator that is suspended inside a gradient-mode block."""

    code = "GRD106"
    name = "yield-in-grad-mode"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{keyword}` inside `with {context}` leaks the mode to the consumer of `{function}`"
    help = "decorate the generator with `@{context}`, or leave the block before `{keyword}`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report suspensions of a plain generator while it holds a gradient-mode context."""
        for suspension in facts.suspensions:
            if suspension.kind.startswith("yield") and not facts.is_context_manager:
                yield self.finding(
                    suspension.span,
                    fact=suspension,
                    certainty=Certainty.POSSIBLE if facts.is_consumed_idly else self.certainty,
                    because=((suspension.entered, "mode set here"), (suspension.span, "suspended here")),
                    keyword=suspension.kind,
                    context=f"{suspension.context}()",
                    function=facts.name,
                )

    def fix(self, fact: Suspension, source: Source) -> Fix:
        """Turn the block into a decorator, which sets the mode back at every `yield`."""
        return Fix(Safety.UNSAFE, "decorate the generator instead", decorators.generator(source, fact))
