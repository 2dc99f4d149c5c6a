"""A reentrant checkpoint is used with what it does not support.

## Why this is wrong

The reentrant variant of `torch.utils.checkpoint` goes backward by itself, inside of the backward that runs. It cannot
know which gradients were asked for, so `torch.autograd.grad` and `backward(inputs=...)` through it raise
`RuntimeError: When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad()`. And it hands no keywords
to its function: `ValueError: Unexpected keyword arguments`. Without `use_reentrant` the reentrant variant runs as well.

## Examples

```python
import torch
from torch.utils.checkpoint import checkpoint


def penalty(encoder, x):
    x = x.requires_grad_()
    out = checkpoint(encoder, x, use_reentrant=True)  # error
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return grad.pow(2).sum()
```

```python
import torch
from torch.utils.checkpoint import checkpoint


def attend(attention, x, mask):
    return checkpoint(attention, x, mask=mask)  # error
```

## Use instead

```python
import torch
from torch.utils.checkpoint import checkpoint


def penalty(encoder, x):
    x = x.requires_grad_()
    out = checkpoint(encoder, x, use_reentrant=False)
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return grad.pow(2).sum()
```

## Known limits

That gradients of some inputs are asked for is seen in the function of the checkpoint. Keywords that a call passes on by
`**` are not known:

```python
import torch
from torch.utils.checkpoint import checkpoint


def attend(attention, x, **options):
    return checkpoint(attention, x, **options)
```

## Fix safety

The fix writes `use_reentrant=False`, which supports all this. Hooks and the number of recomputations differ: it is
unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "incompatible with .grad()"
penalty(nn.Linear(4, 1), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import saved
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.functions import CheckpointCall
    from gradlint.fix import Source

MESSAGES = {
    "keyword": "a reentrant checkpoint takes no keyword `{detail}` for its function",
    "inputs": "a reentrant checkpoint cannot be gone through by `{detail}`, which asks for some gradients only",
}


class CheckpointIncompatible(Rule):
    """A reentrant checkpoint with keywords, or under `autograd.grad`."""

    code = "GRD611"
    name = "checkpoint-incompatible"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "a reentrant checkpoint does not support `{detail}`"
    help = "pass `use_reentrant=False`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report reentrant checkpoints that torch refuses."""
        for call in facts.checkpoints:
            if call.form in MESSAGES:
                because = ((call.at, "gradients are asked for here"),) if call.at is not None else ()
                yield self.finding(call.span, because, fact=call, message=MESSAGES[call.form], detail=call.detail)

    def fix(self, fact: CheckpointCall, source: Source) -> Fix:
        """Take the other variant."""
        return Fix(Safety.UNSAFE, "take the variant that is not reentrant", saved.not_reentrant(source, fact))
