"""A function edits a tensor that belongs to its caller.

## Why this is wrong

An argument is the caller's tensor, not a copy of it. A function that normalises, masks or shifts it in place and
returns the result changes what the caller goes on with. No error tells, as long as the tensor is data; if it requires
grad, torch refuses the edit of a leaf, and raises in backward where an operation had saved the tensor.

## Examples

```python
import torch


def centred(x: torch.Tensor) -> torch.Tensor:
    x -= x.mean()  # error
    return x
```

A new name is no copy either:

```python
import torch


def widened(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    neighbours = kernel
    neighbours[neighbours == 0] = -10.0  # error
    return (image + neighbours).amax()
```

## Use instead

```python
import torch


def centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean()


def widened(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    neighbours = kernel.masked_fill(kernel == 0, -10.0)
    return (image + neighbours).amax()
```

## Known limits

Whether the caller expects the edit is not written in the function, so findings are hidden by default: they are shown
with `--min-certainty possible`. Functions that return nothing, that take a flag `inplace`, or whose names say that they
edit (`update`, `fill`, a trailing underscore) are silent. So are parameters that are handed in to be written to (`out`,
`buffer`, `state`), weights, and code that runs with gradients off:

```python
import torch


def shift_(x: torch.Tensor, by: float) -> torch.Tensor:
    x += by
    return x


def shifted(x: torch.Tensor, by: float) -> torch.Tensor:
    x = x + by
    x *= 2
    return x
```

## Fix safety

The fix computes a new tensor under the same name, or edits a clone. Callers that rely on the edit no longer see it: it
is unsafe and never applied unasked. For views of the argument there is no fix.

## Runtime check

```python
# shows: torch.equal(*(lambda x: (x.clone(), (centred(x), x)[1]))(torch.ones(3))) is False
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import NoFix, inplace
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import ArgumentEdit
    from gradlint.fix import Source


class InplaceOnArgument(Rule):
    """In-place edit of the caller's tensor."""

    code = "GRD308"
    name = "inplace-on-argument"
    since = "NEXT"
    severity = Severity.INFO
    certainty = Certainty.POSSIBLE
    message = "`{op}` edits `{target}` in place, which is the tensor that the caller has handed in as `{parameter}`"
    help = "compute a new tensor, or edit a clone"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of arguments, by functions that do not say so."""
        for argument in facts.argument_edits:
            edit = argument.edit
            target = edit.target.name or "the tensor"
            because = ((edit.span, "edited here"),)
            yield self.finding(
                edit.span, because, fact=argument, op=edit.op, target=target, parameter=argument.parameter
            )

    def fix(self, fact: ArgumentEdit, source: Source) -> Fix:
        """Compute a new tensor under the same name, or edit a clone."""
        if not fact.name:
            raise NoFix("a view of the argument is edited")
        return Fix(Safety.UNSAFE, "leave the argument as it is", inplace.of_a_copy(source, fact.edit, fact.name))
