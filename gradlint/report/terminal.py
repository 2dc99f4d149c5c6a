"""Where output goes: a terminal with colours, a pipe without, or a file. All text arrives here sanitised."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from gradlint.report.text import Line

STYLES = {
    "path": "bold",
    "gutter": "dim",
    "error": "bold red",
    "warning": "bold yellow",
    "info": "bold blue",
    "message": "bold",
    "code": "bold",
    "primary": "bold red",
    "evidence": "cyan",
    "help": "bold green",
    "clean": "green",
    "summary": "bold",
    "count": "bold",
    "run": "bold cyan",
    "note": "bold blue",
    "CONFIRMED": "bold red",
    "OBSERVED": "bold magenta",
    "INCONCLUSIVE": "bold yellow",
    "REFUTED": "bold green",
    "NOT REACHED": "dim",
}
"""How each role of text looks in colour."""


def has_colour(stream: TextIO) -> bool:
    """Tell whether colours are wanted on ``stream``: a terminal that knows them, and no ``NO_COLOR``."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("dumb", "unknown")


def write(lines: Iterable[Line], stream: TextIO) -> None:
    """Write ``lines`` to ``stream``, in colour if it takes any."""
    if not has_colour(stream):
        stream.writelines("".join(text for text, _ in line).rstrip() + "\n" for line in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for line in lines:
        text = Text()
        for piece, role in line:
            text.append(piece, STYLES.get(role))
        console.print(text, soft_wrap=True)
