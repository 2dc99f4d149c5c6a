"""Which classes the source of an annotation says that the value itself may be of."""

from __future__ import annotations

import re
from collections.abc import Iterator

NAME = re.compile(r"\w+(?:\.\w+)*")
UNIONS = frozenset(["Optional", "Union"])
WRAPPERS = frozenset(["Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required"])
"""Special forms whose first argument is the type of the value (typing's documentation, "Special forms")."""
QUOTES = "\"'"


def named_classes(annotation: str) -> Iterator[str]:
    """Yield the dotted names of classes in an annotation's source, as it says them, those of builtins too.

    ``Optional[Net]``, ``Net | None``, ``"Net"`` and ``Net[int]`` name ``Net``; ``list[Net]`` names only ``list``.
    What is no annotation yields nothing, or names that are there.
    """
    text = annotation.strip()
    options = list(_split(text, "|"))
    if len(options) > 1:
        for option in options:
            yield from named_classes(option)
    elif len(text) > 1 and text[0] in QUOTES and text[-1] == text[0]:
        yield from named_classes(text[1:-1])
    elif text.endswith("]"):
        yield from _subscripted(text)
    elif NAME.fullmatch(text):
        yield text


def _subscripted(text: str) -> Iterator[str]:
    head, _, inner = text[:-1].partition("[")
    form = head.strip().rpartition(".")[2]
    if form in UNIONS:
        for argument in _split(inner, ","):
            yield from named_classes(argument)
    elif form in WRAPPERS:
        yield from named_classes(next(_split(inner, ",")))
    else:
        yield from named_classes(head)


def _split(text: str, separator: str) -> Iterator[str]:
    """Split where no bracket and no quote is open."""
    depth = start = 0
    quote = ""
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
        elif character == separator and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]
