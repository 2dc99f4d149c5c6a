"""What the analysis sees: the events of every body, then what it concludes from them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from gradlint.facts import Facts, Happening, Modes, Operand
from gradlint.ir.cfg import Body
from gradlint.ir.printer import render
from gradlint.lower.python import lower
from gradlint.project.analysis import analyse


def dump(path: Path, qualname: str = "") -> str:
    """Return the text for the file ``path``, or for the body ``qualname`` in it and the bodies inside that.

    Raises `LookupError` if there is no such body, `SyntaxError` or `OSError` if the file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    module = lower(text, ast.parse(text))
    body = _find(module, qualname)
    if body is None:
        raise LookupError(f"there is no `{qualname}`")
    inside = f"{qualname}."
    concluded = [
        _facts(facts)
        for facts in analyse(module, path.as_posix())
        if not qualname or facts.body.qualname == qualname or facts.body.qualname.startswith(inside)
    ]
    return "\n".join([render(body), *filter(None, concluded)])


def _find(body: Body, qualname: str) -> Body | None:
    if body.qualname == qualname:
        return body
    return next((found for child in body.children if (found := _find(child, qualname))), None)


def _facts(facts: Facts) -> str:
    """One line per thing that the body does, by line of the source; nothing if it does nothing of interest."""
    rows = [
        (happening.span, f"  line {happening.span[0]}: {kind} {' '.join(_details(happening))}\n")
        for kind, happening in _happenings(facts)
    ]
    if not rows:
        return ""
    notes = [word for word in (facts.role, "every caller turns gradients off" if facts.guarded else "") if word]
    title = f"facts {facts.body.qualname or 'module'}" + (f" ({', '.join(notes)})" if notes else "")
    return title + "\n" + "".join(row for _, row in sorted(rows))


def _happenings(facts: Facts) -> Iterator[tuple[str, Happening]]:
    for name in facts.__struct_fields__:
        value = getattr(facts, name)
        if isinstance(value, list):
            yield from ((type(item).__name__, item) for item in value if isinstance(item, Happening))


def _details(happening: Happening) -> Iterator[str]:
    for name in happening.__struct_fields__:
        value = getattr(happening, name)
        if isinstance(value, Modes):
            yield "modes=" + "|".join(value.names)
        elif isinstance(value, Operand):
            yield f"{name}={value.name or '...'}"
        elif isinstance(value, str | bool) and value:
            yield f"{name}={value}"
