"""A job with a forward is handed to a thread inside a block with gradients off.

## Why this is wrong

The gradient mode belongs to a thread, and every new thread begins with gradients on. A `no_grad` around the call that
starts a `Thread`, or gives a job to a `ThreadPoolExecutor` or to `asyncio.to_thread`, does not reach the job: its
forwards record graphs, which live as long as their results. (A forked process inherits the mode.)

## Examples

```python
from concurrent.futures import ThreadPoolExecutor
import torch


def predict(model, parts):
    def run(part):
        return model(part)

    with torch.no_grad(), ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, parts))  # error
```

## Use instead

```python
from concurrent.futures import ThreadPoolExecutor
import torch


def predict(model, parts):
    @torch.no_grad()
    def run(part):
        return model(part)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, parts))
```

## Known limits

A job is looked into if it is a function in sight, or a module. A pool must be made in the same function; what an
attribute holds may be a pool of processes:

```python
import torch


class Server:
    def __init__(self, model, pool):
        self.model, self.pool = model, pool

    def run(self, x):
        return self.model(x)

    def answer(self, x):
        with torch.no_grad():
            return self.pool.submit(self.run, x)
```

## Fix safety

The fix puts `@torch.no_grad()` above the job, where it is a plain function. It is unsafe, since the function may be
called elsewhere with gradients on.

## Runtime check

```python
# shows: predict(nn.Linear(2, 1), [torch.ones(1, 2)])[0].requires_grad
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.modes import ThreadJob
    from gradlint.fix import Source


class ThreadIgnoresGradMode(Rule):
    """A thread that is started with gradients off."""

    code = "GRD109"
    name = "thread-ignores-grad-mode"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{call}` runs `{job}` in another thread, where gradients are on"
    help = "turn gradients off in the job: put `@torch.no_grad()` above it"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report jobs that a block with gradients off does not reach."""
        for fact in facts.thread_jobs:
            yield self.finding(fact.span, fact.because, fact=fact, call=fact.call, job=fact.job)

    def fix(self, fact: ThreadJob, source: Source) -> Fix | None:
        """Turn gradients off in the job, where it is code in sight."""
        if fact.forward == fact.span:
            return None
        return Fix(Safety.UNSAFE, "turn gradients off in the job", modes.guarded_whole(source, fact.forward))
