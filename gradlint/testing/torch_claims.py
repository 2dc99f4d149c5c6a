"""Reading what fixtures and pages claim about torch; `gradlint.runtime.truth` runs it.

A function of a fixture carries a comment right above it (decorators below the comment):

- ``# runtime: raises RuntimeError "does not require grad"``: the call raises this, the words are optional;
- ``# runtime: shows EXPRESSION``: true after the call, in terms of the arguments, ``result`` and ``torch``;
- ``# runtime: ok``: the call raises nothing;
- ``# runtime: not run -- REASON``: it cannot be called on a CPU within a second.

The block under *Runtime check* of a page starts with ``# raises: TYPE "words"``, ``# shows: EXPRESSION`` or
``# warns: TYPE "words"``. It runs behind the first example, where the claim must hold, and behind the first block
of *Use instead*, where it must not.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from gradlint.testing.expectations import comments
from gradlint.testing.fixtures import first_line, functions
from gradlint.testing.pages import RUNTIME, Page

_TYPED = re.compile(r'(?P<type>[A-Za-z_.]+)(?:\s+"(?P<words>.*)")?')
_HEADER = re.compile(r"#\s*(?P<kind>raises|shows|warns):\s*(?P<rest>.+)")
_COMMENT = re.compile(r"#\s*runtime\s*:\s*(?P<rest>.*)")

SCRIPT = "__main__"
"""What stands for a whole file that is run as a script, in place of a function's name."""


class ClaimError(ValueError):
    """A claim about torch that is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What torch does.

    ``kind`` is ``raises`` or ``warns`` (then ``subject`` is a type and ``words`` are part of its text), ``shows``
    (an expression), ``ok``, or ``not run`` (a reason).
    """

    kind: str
    subject: str = ""
    words: str = ""

    def __str__(self) -> str:
        """Write it nearly as the comment does."""
        return " ".join([self.kind, self.subject, f'"{self.words}"' if self.words else ""]).strip()

    def fits(self, kind: type[BaseException], words: str) -> bool:
        """Tell whether an exception or warning of type ``kind`` that says ``words`` is the one that is meant."""
        return self.subject in {base.__name__ for base in kind.__mro__} and self.words in words


def parse_claims(text: str, *, scripts: bool = False) -> dict[str, Claim]:
    """Return the claims of a fixture by function name.

    Every function at module level that is called ``..._bad`` or ``..._ok`` has exactly one. With ``scripts`` there
    may be one above ``if __name__ == "__main__":`` too, by the name `SCRIPT`. Raises `ClaimError` when one is missing,
    unreadable, or stands above nothing.
    """
    by_line = {line: found["rest"] for line, _, text_ in comments(text) if (found := _COMMENT.match(text_))}
    claims: dict[str, Claim] = {}
    for function in functions(text):
        line = first_line(function) - 1
        if function.col_offset or line not in by_line:
            continue
        if function.name in claims:
            raise ClaimError(f"line {function.lineno}: there are two functions called `{function.name}`")
        claims[function.name] = parse_claim(by_line.pop(line), f"line {line}")
    if scripts and (main := _main_guard(text)) - 1 in by_line:
        claims[SCRIPT] = parse_claim(by_line.pop(main - 1), f"line {main - 1}")
    if by_line:
        raise ClaimError(f"line {min(by_line)}: this comment stands above no function that is called bad or ok")
    bare = [node for node in functions(text) if not node.col_offset and node.name not in claims]
    if bare:
        raise ClaimError(f"line {bare[0].lineno}: no `# runtime:` comment right above `{bare[0].name}`")
    return claims


def _main_guard(text: str) -> int:
    """Return the line of ``if __name__ == "__main__":``; 0 if there is none."""
    guards = (node for node in ast.parse(text).body if isinstance(node, ast.If))
    return next((node.lineno for node in guards if ast.unparse(node.test) == "__name__ == '__main__'"), 0)


def parse_claim(text: str, where: str) -> Claim:
    """Read what follows ``# runtime:``. Raises `ClaimError`, which names ``where``."""
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind == "ok" and not rest:
        return Claim("ok")
    if kind == "shows":
        return Claim("shows", _expression(rest, where))
    if kind in ("raises", "warns") and (typed := _TYPED.fullmatch(rest)):
        return Claim(kind, typed["type"], typed["words"] or "")
    if kind == "not" and (reason := re.fullmatch(r"run -- (\S.*)", rest)):
        return Claim("not run", reason[1])
    raise ClaimError(f"{where}: {text!r} is no claim; see `{__name__}`")


def _expression(text: str, where: str) -> str:
    try:
        compile(text, where, "eval")
    except SyntaxError as error:
        raise ClaimError(f"{where}: {text!r} is no expression: {error.msg}") from error
    return text


def page_claim(page: Page) -> tuple[Claim, str]:
    """Return the claim of the *Runtime check* of ``page``, and the code to run behind an example.

    Raises `ClaimError` when there is no such check, or it has no readable first line.
    """
    if not page.python(RUNTIME):
        raise ClaimError(f"`## {RUNTIME}` has no python block")
    check = page.python(RUNTIME)[0]
    header = _HEADER.match(check.code)
    if header is None:
        raise ClaimError(f"line {check.line}: the first line is none of `# raises:`, `# shows:`, `# warns:`")
    return parse_claim(f"{header['kind']} {header['rest']}", f"line {check.line}"), check.code
