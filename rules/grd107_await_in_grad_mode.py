"""A coroutine awaits inside a gradient-mode block, so the mode leaks to every other task of the event loop.

## Why this is wrong

The gradient mode belongs to the thread, and an event loop runs all its tasks in one thread. While a coroutine is
suspended at an `await` inside `with torch.no_grad():`, the block has not been left, and whatever task runs next finds
gradients off. Two coroutines that interleave such blocks restore the mode in the wrong order and can leave it off in
the thread for good.

`async for`, `async with` and asynchronous comprehensions suspend in the same way.

## Examples

```python
import asyncio
import torch


async def infer(model, x):
    with torch.no_grad():
        await asyncio.sleep(0)  # error
        return model(x)
```

```python
import torch


async def serve(model, requests):
    with torch.inference_mode():
        async for request in requests:  # error
            request.answer(model(request.inputs))
```

```python
import torch


async def serve(model, queue, lock):
    inputs = await queue.get()
    with torch.no_grad():
        async with lock:  # error
            return model(inputs)
```

## Use instead

Wait first, then enter the block and leave it before the next `await`:

```python
import asyncio
import torch


async def infer(model, x):
    await asyncio.sleep(0)
    with torch.no_grad():
        return model(x)
```

```python
import torch


async def serve(model, requests):
    async for request in requests:
        with torch.inference_mode():
            outputs = model(request.inputs)
        request.answer(outputs)
```

## Known limits

Awaiting something that is already done does not suspend, but whether it is done is not visible in the code: every
`await` inside the block is reported. An event loop that is started inside the block runs all of its tasks in that mode,
on purpose, and is not reported:

```python
import asyncio
import torch


def evaluate(player):
    with torch.no_grad():
        return asyncio.run(player.play())
```

## Runtime check

```python
# shows: not tracked
import asyncio


async def train(x):
    return nn.Linear(4, 1)(x).requires_grad


async def main():
    x = torch.ones(1, 4)
    return await asyncio.gather(infer(nn.Linear(4, 1), x), train(x))


_, tracked = asyncio.run(main())
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class AwaitInGradMode(Rule):
    """A coroutine that is suspended inside a gradient-mode block."""

    code = "GRD107"
    name = "await-in-grad-mode"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{keyword}` inside `with {context}` leaks the mode to every other task of the event loop"
    help = "enter `{context}` after `{keyword}`, and only around code that does not suspend"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report suspensions of a coroutine while it holds a gradient-mode context."""
        for suspension in facts.suspensions:
            if not suspension.kind.startswith("yield"):
                yield self.finding(
                    suspension.span,
                    because=((suspension.entered, "mode set here"), (suspension.span, "suspended here")),
                    keyword=suspension.kind,
                    context=f"{suspension.context}()",
                )
