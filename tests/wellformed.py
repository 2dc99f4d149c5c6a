"""A rule's page as it should be, for the tests of what reads and runs pages."""

from __future__ import annotations

PAGE = """Something is wrong.

## Why this is wrong

Because.

## Examples

```python
import torch
def f(x):
    with torch.no_grad():
        return x * 2  # error
```

## Use instead

```python
def f(x):
    return x * 2
```

## Known limits

None.

## Runtime check

```python
# shows: not y.requires_grad
y = f(torch.ones(1, requires_grad=True))
```
"""
