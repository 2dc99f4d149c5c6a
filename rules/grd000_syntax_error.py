"""A file was not analysed: it could not be read, decoded or parsed, or it is beyond what can be analysed.

## Why this is wrong

A linter that passes over a file in silence says "no mistakes" about code it never saw. So every file that was asked
for and not analysed is reported, at the place that stopped it, and the exit code is 2:

- it cannot be opened, or is no file: a named pipe, a socket, a device;
- its bytes are not text in the encoding it declares, or it declares none that exists;
- it is not valid syntax for the Python that runs gradlint. Newer syntax needs gradlint installed under a newer Python;
- it is larger than 10 MB, or nested deeper or wider than any code written by hand. Such files are almost always
  generated data; they are reported with severity `info`, since nothing is wrong with them.

The other files of the run are analysed all the same. This rule cannot be silenced by a comment, for there may be no
telling what is a comment. Exclude the file, or ignore GRD000 for it with `per-file-ignores`: then it does not change
the exit code either.

## Examples

```python
import torch

with torch.no_grad()  # error
    pass
```

## Use instead

```python
import torch

with torch.no_grad():
    pass
```

## Known limits

A file without a word about gradients is never parsed, so a syntax error in it is not found.

## Runtime check

None: this rule makes no claim about autograd.
"""

from __future__ import annotations

from gradlint.finding import Certainty, Severity
from gradlint.rule import EngineRule


class SyntaxErrorInFile(EngineRule):
    """A file that was asked for and not analysed."""

    code = "GRD000"
    name = "syntax-error"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.CERTAIN
    message = "{problem}"
    help = "{remedy}"
