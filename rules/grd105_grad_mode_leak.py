"""A changed gradient mode is not set back on every path, so it stays for everything that runs afterwards.

## Why this is wrong

`torch.set_grad_enabled(False)` as a statement takes effect at once and lasts until something sets the mode back: not
until the function ends, but for the rest of the thread's life. So does `torch.no_grad().__enter__()` without its
`__exit__`. A `validate()` that leaves gradients off is not where the error shows: the next epoch's `loss.backward()`
raises `element 0 of tensors does not require grad and does not have a grad_fn`. An early `return`, an exception that
somebody catches, or a `break` past the line that sets the mode back have the same effect.

The opposite leak is silent: a helper that ends in `torch.set_grad_enabled(True)` turns gradients *on* for the rest of
its caller's `torch.no_grad()` block.

## Examples

```python
import torch


def validate(model, x):
    torch.set_grad_enabled(False)  # error
    return model(x)
```

One path misses the line that sets the mode back:

```python
import torch


def validate(model, loader, criterion):
    torch.set_grad_enabled(False)  # error
    total = 0.0
    for inputs, labels in loader:
        loss = criterion(model(inputs), labels)
        if loss.isnan():
            return None
        total += loss.item()
    torch.set_grad_enabled(True)
    return total
```

A helper switches gradients on under its caller's `no_grad`:

```python
import torch


def predict(model, x):
    torch.set_grad_enabled(False)
    out = model(x)
    torch.set_grad_enabled(True)  # error
    return out


@torch.no_grad()
def compare(model, x):
    first = predict(model, x)
    second = model(x.flip(0))
    return first, second
```

## Use instead

A `with` statement sets the mode back however the block is left:

```python
import torch


def validate(model, x):
    with torch.no_grad():
        return model(x)
```

Or keep the mode and set it back in `finally`:

```python
import torch


def validate(model, x):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        return model(x)
    finally:
        torch.set_grad_enabled(before)
```

## Known limits

A script may turn gradients off for good. At module level, and in a function that only the `__main__` guard calls, the
statement is reported only in a file that others import:

```python
import torch

torch.set_grad_enabled(False)


def main():
    model = torch.nn.Linear(4, 1)
    print(model(torch.ones(1, 4)))


if __name__ == "__main__":
    main()
```

An exception that ends the program leaks nothing that matters. Only exceptions that are raised or caught in the files
that are linted count, so a plain pair is silent:

```python
import torch


def norm(model):
    torch.set_grad_enabled(False)
    total = sum(p.pow(2).sum() for p in model.parameters())
    torch.set_grad_enabled(True)
    return total
```

A function that does nothing but switch modes, one half of a pair of hooks (`on_validation_start`), and a mode that is
passed in are the business of their callers, and reported only where they turn gradients on under a caller's `no_grad`:

```python
import torch


def switch(model, training):
    model.train(training)
    torch.set_grad_enabled(training)
```

## Fix safety

The fix turns the statement, and the one in the same block that sets the mode back, into a `with` block; where nothing
sets it back, the rest of the function becomes the block. Code after the call that lived on the leaked mode, such as an
inference script without a guard of its own, then tracks gradients: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: not after
before = torch.is_grad_enabled()
validate(nn.Linear(4, 1), torch.ones(2, 4))
after = torch.is_grad_enabled()
torch.set_grad_enabled(before)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import modes
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, Leak
    from gradlint.fix import Source


class GradModeLeak(Rule):
    """A gradient mode that some path leaves changed."""

    code = "GRD105"
    name = "grad-mode-leak"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{call}` leaves gradients {mode} {where}"
    help = "use `with {context}:`, or set the mode back in `finally`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report the statement that set a mode which some path carries out of the body."""
        for leak in facts.leaks:
            yield self.finding(
                leak.span,
                fact=leak,
                because=((leak.span, "set here"), (leak.left, f"still {leak.left_mode} here")),
                call=leak.call,
                mode=leak.left_mode,
                where=leak.way,
                context=leak.context,
            )

    def fix(self, fact: Leak, source: Source) -> Fix:
        """Turn the statement, and the one that sets the mode back, into a block."""
        return Fix(Safety.UNSAFE, "use a `with` block", modes.scoped(source, fact))
