"""A freeze that freezes nothing: the assignment reaches no parameter, or something undoes it.

## Why this is wrong

Only tensors have `requires_grad`. On an `nn.Module`, `module.requires_grad = False` makes a new Python attribute that
torch never reads, and every parameter goes on training. `module.requires_grad_(False)`, with the underscore, is the
method that walks over the parameters.

The same silence meets whoever changes the flag on an alias: `model.state_dict()`, `p.data` and `p.detach()` hand out
new tensors that share the parameter's memory but not its flag. A loop over `modules()` or `children()` yields modules,
not parameters. `model.train(False)` switches dropout and batch norm and freezes nothing. And a freeze is gone when a
later loop, or an overridden `train()`, sets the flag of every parameter again.

## Examples

```python
from torch import nn


def build(width):
    encoder = nn.Linear(width, width)
    encoder.requires_grad = False  # error
    return nn.Sequential(encoder, nn.ReLU(), nn.Linear(width, 2))
```

```python
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, encoder, trainable=False):
        super().__init__()
        self.encoder = encoder
        self.encoder.requires_grad = trainable  # error
```

The flag of an alias is not the parameter's flag:

```python
import torch


def freeze(model):
    for name, value in model.state_dict().items():
        if name.startswith("encoder."):
            value.requires_grad = False  # error
    for param in model.parameters():
        param.data.requires_grad = False  # error
```

Modules are not parameters:

```python
import torch


def freeze_stages(model):
    for child in model.children():
        child.requires_grad = False  # error
```

The second loop undoes the first:

```python
import torch


def prepare(model):
    for param in model.encoder.parameters():
        param.requires_grad = False  # error
    for param in model.parameters():
        param.requires_grad = True
```

## Use instead

```python
from torch import nn


def build(width):
    encoder = nn.Linear(width, width)
    encoder.requires_grad_(False)
    return nn.Sequential(encoder, nn.ReLU(), nn.Linear(width, 2))
```

Where names decide, go through `named_parameters()`:

```python
import torch


def freeze(model):
    for name, param in model.named_parameters():
        if name.startswith("encoder."):
            param.requires_grad = False
```

## Known limits

A class may have a `requires_grad` of its own, read by its own code or made a property; assigning that is not reported:

```python
from torch import nn


class Adapter(nn.Module):
    def __init__(self, dim, requires_grad=True):
        super().__init__()
        self.requires_grad = requires_grad
        self.proj = nn.Linear(dim, dim)
        self.proj.requires_grad_(self.requires_grad)
```

Where it is not known whether an object is a module or a tensor, the rule stays silent. Unfreezing one part after
freezing the whole, or unfreezing in a later epoch, is how fine-tuning works and is not reported.

## Fix safety

The fix calls `requires_grad_()` on the module, or sets the flag on the parameter instead of its alias. That does what
the line says, and the line had no effect before: it is safe where the flag is a plain bool, although training results
change, which is the point. To run over `named_parameters()` instead of `state_dict()` is unsafe: tied weights have one
name there and two here. Of a freeze that a later line undoes it is not known which line is meant: there is no fix, and
none where single modules are picked from `modules()`, since the method would reach the modules inside of them too.

## Runtime check

```python
# shows: all(p.requires_grad for p in model[0].parameters())
model = build(4)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import freezing
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts, LostFreeze
    from gradlint.fix import Source


REASONS = {
    "module": "a module has no `requires_grad`, this makes a plain attribute",
    "state_dict": "`state_dict()` holds detached copies of the references",
    "data": "it sets the flag of a new, detached tensor",
    "undone": "a later statement makes them trainable again",
    "mode": "it changes how layers behave, not what is trained",
}


class FreezeHasNoEffect(Rule):
    """A change of ``requires_grad`` that no parameter sees."""

    code = "GRD201"
    name = "freeze-has-no-effect"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "`{written}` has no effect on the parameters of `{target}`: {reason}"
    help = "write `{target}.requires_grad_({flag})`, or set the flag of each of its `parameters()`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report freezes whose flag never reaches the parameters, or is overwritten before it matters."""
        for freeze in facts.lost_freezes:
            yield self.finding(
                freeze.span,
                fact=freeze,
                because=freeze.because,
                certainty=Certainty.LIKELY if freeze.form == "mode" else Certainty.CERTAIN,
                written=freeze.written,
                target=freeze.target,
                reason=REASONS[freeze.form],
                flag=freeze.flag if isinstance(freeze.flag, bool) else "flag",
            )

    def fix(self, fact: LostFreeze, source: Source) -> Fix:
        """Set the flag of the parameters: the line had no effect before."""
        known = isinstance(fact.flag, bool) and fact.form != "state_dict"
        safety = Safety.SAFE if known else Safety.UNSAFE
        return Fix(safety, "set the flag of the parameters", freezing.reaching(source, fact))
