"""Output formats. Every one of them makes what it shows harmless for where it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from gradlint.engine import Result


def write(result: Result, form: str, stream: TextIO, statistics: bool = False, quiet: bool = False) -> None:
    """Write ``result`` to ``stream``; ``form`` is ``full``, ``concise``, ``json``, ``sarif`` or ``github``."""
    if form == "json":
        from gradlint.report import as_json

        stream.write(as_json.document(result) + "\n")
    elif form == "sarif":
        from gradlint.report import sarif

        stream.write(sarif.document(result) + "\n")
    elif form == "github":
        from gradlint.report import github

        stream.writelines(f"{command}\n" for command in github.commands(result))
    else:
        from gradlint.report import terminal, text

        lines = text.statistics if statistics else text.concise if form == "concise" else text.full
        terminal.write(lines(result, quiet), stream)
