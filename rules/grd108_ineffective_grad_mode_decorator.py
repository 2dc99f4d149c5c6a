"""A gradient-mode decorator stands where it does not cover the code it was meant for.

## Why this is wrong

`@torch.no_grad()` switches the mode for the time the decorated callable *runs*. Some callables only hand out work that
runs later, and some things are not functions at all:

- a call of an `async def` function only makes the coroutine; its body runs later, with gradients on. The same holds for
  an asynchronous generator;
- a function that returns a lambda, an inner function or a generator expression hands out code that runs after the
  decorator is done;
- stacked with `@contextlib.contextmanager`, it covers at most the lines before and after the `yield`, never the body of
  the `with` statement;
- above `@staticmethod`, `@classmethod` or `@property` it wraps the descriptor instead of the function: class methods
  raise, static methods raise when they are called on an instance, and properties become methods;
- on a class it covers only `__init__`. The name is bound to a function from then on: `isinstance` and inheritance
  break, and torch issues a `FutureWarning`.

## Examples

```python
import asyncio
import torch


@torch.no_grad()  # error
async def answer(model, x):
    return model(x)
```

```python
import torch


class Encoder(torch.nn.Module):
    @torch.no_grad()  # error
    @staticmethod
    def normalise(x):
        return x / x.norm(dim=-1, keepdim=True)
```

```python
import torch


@torch.no_grad()  # error
class Teacher(torch.nn.Module):
    def forward(self, x):
        return x.softmax(-1)
```

```python
import contextlib
import torch


@torch.no_grad()  # error
@contextlib.contextmanager
def evaluating(model):
    model.eval()
    yield model
    model.train()
```

```python
import torch


@torch.no_grad()  # error
def lazy_features(model, batches):
    return (model(batch) for batch in batches)
```

## Use instead

```python
import asyncio
import torch


async def answer(model, x):
    with torch.no_grad():
        return model(x)
```

The gradient-mode decorator goes next to the function, the descriptor above it:

```python
import torch


class Encoder(torch.nn.Module):
    @staticmethod
    @torch.no_grad()
    def normalise(x):
        return x / x.norm(dim=-1, keepdim=True)
```

```python
import contextlib
import torch


@contextlib.contextmanager
def evaluating(model):
    model.eval()
    with torch.no_grad():
        yield model
    model.train()
```

A generator *function* may be decorated; torch switches the mode at every resume:

```python
import torch


@torch.no_grad()
def lazy_features(model, batches):
    for batch in batches:
        yield model(batch)
```

## Known limits

A returned closure is reported only when it computes with what the decorator was to cover. A closure that has a guard of
its own, or a function that does its work before it returns one, is silent. So is the decorator below `contextmanager`
when the lines around the `yield` edit or compute tensors, as in swapping averaged weights in and out:

```python
import torch


@torch.no_grad()
def normaliser(data):
    mean, std = data.mean(0), data.std(0)
    return lambda x: (x - mean) / std
```

## Fix safety

The fix moves the decorator below the descriptor, turns it into a `with` block in the body of a coroutine that never
waits, or puts one around the `yield` of a context manager. Each switches gradients off where they were on: it is unsafe
and never applied unasked. Decorated classes and lazy results have no fix.

## Runtime check

```python
# shows: result.requires_grad
result = asyncio.run(answer(nn.Linear(4, 1), torch.ones(1, 4)))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import decorators
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Decoration, Facts
    from gradlint.fix import Source


WORDS = {
    "coroutine": (
        "the coroutine `{subject}`: its body runs when it is awaited",
        "write `with {context}():` in the body",
    ),
    "class": ("the methods of `{subject}`, and turns the class into a function", "decorate the methods instead"),
    "descriptor": ("`{subject}`: it wraps the descriptor, not the function", "put `@{context}()` below the descriptor"),
    "context manager": ("the block of `with {subject}()`", "write `with {context}():` around the `yield`"),
    "lazy": ("what `{subject}` returns: that code runs later", "write `with {context}():` inside the lazy code"),
}
"""Per problem: what the decorator misses, and what to do instead."""


class IneffectiveGradModeDecorator(Rule):
    """A gradient-mode decorator on a class, a coroutine, a descriptor, or a maker of lazy code."""

    code = "GRD108"
    name = "ineffective-grad-mode-decorator"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`@{decorator}` does not cover {what}"
    help = "{instead}"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report gradient-mode decorators that miss the code of what they decorate."""
        for decoration in facts.decorations:
            what, instead = WORDS[decoration.problem]
            yield self.finding(
                decoration.span,
                fact=decoration,
                decorator=decoration.context,
                what=what.format(subject=decoration.subject),
                instead=instead.format(context=decoration.context),
            )

    def fix(self, fact: Decoration, source: Source) -> Fix:
        """Move the decorator to where it covers the code."""
        return Fix(Safety.UNSAFE, "move it to where it covers the code", decorators.relocated(source, fact))
