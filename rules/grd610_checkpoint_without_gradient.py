"""A reentrant checkpoint is given nothing that requires grad.

## Why this is wrong

The reentrant variant of `torch.utils.checkpoint` runs the function inside a custom autograd function. Its result
requires grad only if one of its *inputs* does; that the parameters of the module in it do does not count. Behind a
frozen embedding, or on data, the graph ends there: torch warns `None of the inputs have requires_grad=True. Gradients
will be None`, the modules inside of the checkpoint are not trained, and what comes behind is. Without `use_reentrant`
the reentrant variant runs as well.

## Examples

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def step(block, head):
    with torch.no_grad():
        h = torch.ones(2, 4) * 2
    h = checkpoint(block, h, use_reentrant=True)  # error
    head(h).sum().backward()
    return block.weight.grad
```

## Use instead

```python
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def step(block, head):
    with torch.no_grad():
        h = torch.ones(2, 4) * 2
    h = checkpoint(block, h, use_reentrant=False)
    head(h).sum().backward()
    return block.weight.grad
```

or call `h.requires_grad_()` before.

## Known limits

Reported if it is certain that no argument requires grad; of the parameter of a function that is not known. Of
`gradient_checkpointing_enable()` without arguments it is taken that its checkpoints are reentrant, as in most versions
of transformers; it is reported where the same function freezes the model and puts adapters into it, and neither
`enable_input_require_grads()` nor `get_peft_model()` behind it takes care. With gradients off there is nothing to
lose:

```python
import torch
from torch.utils.checkpoint import checkpoint


def encode(encoder):
    with torch.no_grad():
        return checkpoint(encoder, torch.ones(2, 4), use_reentrant=True)
```

## Fix safety

The fix writes `use_reentrant=False`. The modules inside are then trained, which is the point, and takes memory and time
that was not spent before: it is unsafe and never applied unasked.

## Runtime check

```python
# shows: step(nn.Linear(4, 4), nn.Linear(4, 1)) is None
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

ENABLED = "the checkpoints in `{function}`, which is frozen, are given nothing that requires grad: adapters get none"
REQUIRE = (
    "call `{function}.enable_input_require_grads()`, or say `use_reentrant=False` in `gradient_checkpointing_kwargs`"
)


class CheckpointWithoutGradient(Rule):
    """A reentrant checkpoint of inputs that need no gradient."""

    code = "GRD610"
    name = "checkpoint-without-gradient"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "a reentrant checkpoint of `{function}` is given nothing that requires grad: {given} is off the graph"
    help = "pass `use_reentrant=False`, or call `requires_grad_()` on an input"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report reentrant checkpoints whose inputs are all off the graph."""
        for call in facts.checkpoints:
            if call.form == "untracked":
                given = f"`{call.detail}`" if call.detail else "its input"
                because = ((call.span, "the graph ends here"),)
                yield self.finding(call.span, because, fact=call, function=call.function or "a function", given=given)
            elif call.form == "frozen" and call.at is not None:
                because = ((call.at, "frozen here, embedding included"),)
                yield self.finding(call.span, because, message=ENABLED, help=REQUIRE, function=call.function)

    def fix(self, fact: CheckpointCall, source: Source) -> Fix:
        """Take the other variant."""
        return Fix(Safety.UNSAFE, "take the variant that is not reentrant", saved.not_reentrant(source, fact))
