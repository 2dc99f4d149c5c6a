"""What a module with a full backward hook returns is edited in place.

## Why this is wrong

`register_full_backward_hook` and `register_full_backward_pre_hook` put a node of their own behind what the module
returns: a view that a custom function has made. torch refuses to edit it:
`RuntimeError: Output 0 of BackwardHookFunction is a view and is being modified inplace`. A network runs for as long as
nobody looks at its gradients, and fails as soon as somebody does.

## Examples

```python
import torch
import torch.nn.functional as F
from torch import nn


def watched(x, log):
    layer = nn.Linear(4, 4)
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: log.append(grad_output))
    return F.relu(layer(x), inplace=True)  # error
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch import nn


def watched(x, log):
    layer = nn.Linear(4, 4)
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: log.append(grad_output))
    return F.relu(layer(x))
```

## Known limits

Hook and edit stand in one file, and the hook is registered on the very module that is called: hooks on all modules of a
network are not followed. Forward hooks, and hooks of tensors, do not stand in the way of edits:

```python
import torch
import torch.nn.functional as F
from torch import nn


def watched(x, log):
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, given, out: log.append(out.shape))
    return F.relu(layer(x), inplace=True)
```

## Runtime check

```python
# raises: RuntimeError "BackwardHookFunction"
watched(torch.ones(1, 4), [])
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class InplaceAfterFullBackwardHook(Rule):
    """In-place edit of what a module with a full backward hook returns."""

    code = "GRD315"
    name = "inplace-after-full-backward-hook"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits in place what `{module}` returns, which has a full backward hook"
    help = "compute a new tensor, or use a hook of the tensor"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of what modules with backward hooks return."""
        for view in facts.view_edits:
            if view.form == "hooked":
                because = ((view.made, "the hook is registered here"), (view.edit.span, "edited here"))
                yield self.finding(view.edit.span, because, op=view.edit.op, module=view.how or "the module")
