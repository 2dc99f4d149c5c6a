"""An expanded tensor is edited in place.

## Why this is wrong

`expand` copies nothing: all rows of the result are one and the same memory. An in-place operation would write to it
several times, and torch refuses: `RuntimeError: unsupported operation: more than one element of the written-to tensor
refers to a single memory location`. Assigning to one row does not raise: it writes to all of them.

## Examples

```python
import torch


def shifted(x):
    offsets = torch.zeros(x.shape[1]).expand(2, 4)
    offsets += x  # error
    return offsets
```

```python
import torch


def marked(rows, columns):
    table = torch.zeros(1, columns).expand(rows, columns)
    table[0] = 1.0  # error
    return table
```

## Use instead

```python
import torch


def shifted(x):
    offsets = torch.zeros(x.shape[1]).expand(2, 4).clone()
    offsets += x
    return offsets
```

## Known limits

That the sizes were equal to begin with, so that nothing was expanded, is not known. `fill_` and `zero_`
are what they seem:

```python
import torch


def filled(rows, columns):
    table = torch.empty(1, columns).expand(rows, columns)
    table.zero_()
    return table
```

## Fix safety

The fix clones the expanded tensor. Then each row has a memory of its own, which takes more of it and changes results
where rows were meant to be one: it is unsafe and never applied unasked.

## Runtime check

```python
# raises: RuntimeError "refers to a single memory location"
shifted(torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Fix, Safety, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts
    from gradlint.facts.edits import ViewEdit
    from gradlint.fix import Source

MESSAGES = {
    "expanded": "`{op}` edits `{target}` in place, made by `{how}`: its rows are one memory",
    "silent": "`{target}[...] = ...` writes to every row of `{target}`, made by `{how}`",
}


class InplaceOnExpanded(Rule):
    """In-place edit of an expanded tensor."""

    code = "GRD310"
    name = "inplace-on-expanded"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{op}` edits `{target}` in place, made by `{how}`: its rows are one memory"
    help = "clone what is expanded, or compute a new tensor"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Report edits of expanded tensors."""
        for view in facts.view_edits:
            if view.form in MESSAGES:
                edit = view.edit
                yield self.finding(
                    edit.span,
                    ((view.made, "expanded here"), (edit.span, "edited here")),
                    fact=view,
                    message=MESSAGES[view.form],
                    op=edit.op,
                    target=edit.target.name or "the tensor",
                    how=view.how,
                )

    def fix(self, fact: ViewEdit, source: Source) -> Fix:
        """Clone what is expanded."""
        _, _, line, column = fact.made
        return Fix(Safety.UNSAFE, "clone what is expanded", (source.insert(line, column, ".clone()"),))
