"""The list of rules and the page of one, as `gradlint rules` and `gradlint rule` show them."""

from __future__ import annotations

import json
from typing import TextIO

from gradlint import registry
from gradlint.report.terminal import has_colour
from gradlint.rule import Rule


def write_list(stream: TextIO, form: str) -> None:
    """Write code, name, severity, certainty and a sentence for every rule; ``form`` is ``text`` or ``json``."""
    rows = [_row(rule) for rule in registry.all_rules()]
    if form == "json":
        stream.write(json.dumps(rows, indent=2) + "\n")
    elif has_colour(stream):
        _write_table(rows, stream)
    else:
        widths = [max(len(row[key]) for row in rows) for key in rows[0]]
        for row in rows:
            stream.write(
                "  ".join(f"{cell:<{width}}" for cell, width in zip(row.values(), widths, strict=True)).rstrip() + "\n"
            )


def write_page(stream: TextIO, rule: Rule) -> None:
    """Write everything there is to say about a rule."""
    heading = f"# {rule.code}: {rule.name}\n\nSeverity {rule.severity.value}, certainty {rule.certainty.value}.\n\n"
    page = heading + registry.page(rule) + "\n"
    if not has_colour(stream):
        stream.write(page)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(file=stream).print(Markdown(page))


def _row(rule: Rule) -> dict[str, str]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity.value,
        "certainty": rule.certainty.value,
        "summary": registry.summary(rule),
    }


def _write_table(rows: list[dict[str, str]], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gradlint.report.terminal import STYLES

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for key in rows[0]:
        table.add_column(key, no_wrap=key != "summary")
    for row in rows:
        cells = [Text(cell, STYLES.get(cell if key == "severity" else key, "")) for key, cell in row.items()]
        table.add_row(*cells)
    Console(file=stream).print(table)
