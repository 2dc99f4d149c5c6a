"""A module uses parameters that it does not register.

## Why this is wrong

`nn.Module` registers what is assigned to an attribute as an `nn.Parameter` or as a module, and nothing else. What lies
in a list, dict or tuple, a tensor with `requires_grad=True`, and a layer that `forward` makes are out of its sight.
They get gradients, but `parameters()` leaves them out, so that no optimizer trains them; `state_dict()` does not save
them, and `to()` and `cuda()` do not move them. A layer made in `forward` has other random weights at every call.

A buffer with `requires_grad=True` is saved and moved, and still trained by nobody. A plain tensor that is filled by
`nn.init` gets no gradient either, and stays as it was drawn.

## Examples

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(depth)]  # error
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)
```

```python
import torch
from torch import nn


class Branches(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.branches = []  # error
        for width in widths:
            self.branches.append(nn.Conv2d(3, width, 1))
        self.shift = torch.zeros(1, requires_grad=True)  # error
        self.register_buffer("scale", torch.ones(1, requires_grad=True))  # error

    def forward(self, x):
        weight = nn.Linear(4, 4)  # error
        return weight(sum(branch(x) for branch in self.branches)) * self.scale + self.shift
```

```python
import torch
from torch import nn


class Bilinear(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.empty(size, size)  # error
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, y):
        return (x @ self.weight * y).sum(-1)
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])
        self.shift = nn.Parameter(torch.zeros(1))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x) + self.shift
```

## Known limits

Silent are layers without parameters, a list that becomes a `Sequential`, a list around one module that was there
before (a known way to hide it), what is frozen or called so, classes that register by `add_module` or have their own
`parameters()`, and a layer that the first call makes and keeps:

```python
import torch
from torch import nn


class Quiet(nn.Module):
    def __init__(self, teacher):
        super().__init__()
        layers = [nn.Linear(4, 4), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.activations = [nn.ReLU(), nn.Tanh()]
        self.teacher = [teacher]
        self.head = None

    def forward(self, x):
        if self.head is None:
            self.head = nn.Linear(4, 1)
        return self.head(self.activations[0](self.net(x)))
```

## Fix safety

The fix writes `nn.ModuleList(...)`, `nn.ParameterList(...)` or `nn.ModuleDict(...)` around the display, and
`nn.Parameter(...)` for a tensor or a buffer. What was left as it is will be trained, and checkpoints have more entries:
it is unsafe and never applied unasked. There is none for layers that `forward` makes.

## Runtime check

```python
# shows: len(list(net.parameters())) == 2
net = Net(3)
net(torch.ones(2, 4)).sum().backward()
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.fix import registering
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.leaves import Hidden
    from gradlint.fix import Source


MESSAGES = {
    "tensor": "`{name}` is a plain tensor that requires grad: the module does not register it as a parameter",
    "drawn": "`{name}` is filled as a weight is, and is a plain tensor: the module does not register it as a parameter",
    "buffer": "`{name}` is a buffer that requires grad: no optimizer gets it from `parameters()`",
    "forward": "`forward` makes `{what}(...)` anew at every call: its weights are random each time and never trained",
    "replaced": "`forward` replaces `{name}` at every call: the optimizer keeps the parameters of the first one",
}
HELPS = {
    "layers": "use `nn.ModuleList` or `nn.ModuleDict`",
    "parameters": "use `nn.ParameterList` or `nn.ParameterDict`",
    "tensor": "make it an `nn.Parameter`",
    "drawn": "make it an `nn.Parameter`, or call `register_buffer` if it is a constant",
    "buffer": "make it an `nn.Parameter`, or leave `requires_grad` out",
}


class HiddenParameters(Rule):
    """Parameters that a module uses and does not own."""

    code = "GRD220"
    name = "hidden-parameters"
    since = "NEXT"
    severity = Severity.WARNING
    certainty = Certainty.LIKELY
    message = "`{name}` hides the {form} in it from the module: they are not in `parameters()` and `state_dict()`"
    help = "make it once, in `__init__`"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report layers, parameters and tensors that a module uses and that it does not register."""
        for fact in facts.hidden_parameters:
            message, help_ = MESSAGES.get(fact.form), HELPS.get(fact.form)
            yield self.finding(
                *(fact.span, fact.because),
                fact=fact,
                message=message,
                help=help_,
                name=fact.name,
                what=fact.what,
                form=fact.form,
            )

    def fix(self, fact: Hidden, source: Source) -> Fix:
        """Register it: by a container of torch's, or as a parameter."""
        return Fix(Safety.UNSAFE, "register it", registering.registered(source, fact))
