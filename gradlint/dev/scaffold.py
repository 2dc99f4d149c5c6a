"""The first version of a rule: its module, one fixture and its line in the changelog."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

_CODE = re.compile(r"GRD[1-9][0-9]{2}")
_SLUG = re.compile(r"[a-z]+[0-9]*(-[a-z0-9]+)*")
_ADDED = "### Added\n"

_RULE = Template('''\
"""One sentence: what is wrong.

## Why this is wrong

What torch does then, in the words of its error message where it has one.

## Examples

```python
import torch


def step(model, x):
    loss = model(x).sum()
    loss.backward()  # error
```

## Use instead

```python
import torch


def step(model, x):
    loss = model(x).sum()
    loss.backward()
```

## Known limits

What it does not find, and what it must stay silent about.

## Runtime check

```python
# raises: RuntimeError "words of the message"
step(nn.Linear(4, 1), torch.ones(2, 4))
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Severity
from gradlint.rule import Draft, Rule

if TYPE_CHECKING:
    from gradlint.facts import Facts


class $classname(Rule):
    """What it looks for, in a few words."""

    code = "$code"
    name = "$slug"
    since = "NEXT"
    severity = Severity.ERROR
    certainty = Certainty.LIKELY
    message = "`{name}` is what is wrong"
    help = "do this"

    def check(self, facts: Facts) -> Iterator[Draft]:
        """Say which facts make a finding."""
        for backward in facts.backwards:
            if backward.target.off_graph:
                yield self.finding(backward.span, backward.target.because(), name=backward.target.name)
''')

_FIXTURE = Template('''\
"""What these cases have in common, in one line."""


# runtime: raises RuntimeError "words of the message"
def first_bad(model, x):
    model(x).sum().backward()  # expect: $code


# runtime: ok
def first_ok(model, x):
    model(x).sum().backward()
''')


class ScaffoldError(Exception):
    """The rule cannot be made: its code or name is misspelt or taken, or the changelog has no place for it."""


def new_rule(root: Path, code: str, slug: str) -> list[Path]:
    """Write rule, fixture and changelog line under ``root``; return the files. Raises `ScaffoldError`."""
    if not _CODE.fullmatch(code):
        raise ScaffoldError(f"{code!r} is no code: GRD and three digits, not below GRD100")
    if not _SLUG.fullmatch(slug):
        raise ScaffoldError(f"{slug!r} is no name: small letters and digits with dashes between")
    underscored = slug.replace("-", "_")
    taken = [*(root / "rules").glob(f"{code.lower()}_*.py"), *(root / "rules").glob(f"grd???_{underscored}.py")]
    if taken:
        raise ScaffoldError(f"there is {taken[0].name} already")
    changelog = root / "CHANGELOG.md"
    log = changelog.read_text(encoding="utf-8")
    if _ADDED not in log:
        raise ScaffoldError("CHANGELOG.md has no `### Added`")
    rule = root / "rules" / f"{code.lower()}_{underscored}.py"
    fixture = root / "fixtures" / code / "basic.py"
    fixture.parent.mkdir(parents=True, exist_ok=True)
    classname = "".join(part.capitalize() for part in slug.split("-"))
    rule.write_text(_RULE.substitute(code=code, slug=slug, classname=classname), encoding="utf-8")
    fixture.write_text(_FIXTURE.substitute(code=code), encoding="utf-8")
    changelog.write_text(log.replace(_ADDED, f"{_ADDED}\n- {code} `{slug}`", 1), encoding="utf-8")
    return [rule, fixture, changelog]


def remaining_steps(code: str) -> str:
    """Return what is left to do by hand, as text."""
    return f"""
1. Write fixtures/{code}/basic.py: functions that people would write, `_bad` and `_ok`, two of each at least.
2. Look at what is known of them: python -m gradlint.dev dump fixtures/{code}/basic.py
3. Write `check`. If the facts do not say what it needs, that is a change of the analysis with fixtures of its own.
4. Complete the page, the docstring of the rule; its examples are tests. Say in CHANGELOG.md what it finds.
5. make bless, read the diff, make check; then make test and make packages."""
