"""The ``github`` format: workflow commands that GitHub shows as annotations."""

from __future__ import annotations

from collections.abc import Iterator

from gradlint.engine import Result
from gradlint.finding import Finding, Severity
from gradlint.report.sanitise import github_data, github_property

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def commands(result: Result) -> Iterator[str]:
    """Yield one command per finding, the worst first, for GitHub shows only the first few."""
    order = list(_COMMANDS)
    for finding in sorted(result.findings, key=lambda each: order.index(each.severity)):
        yield _command(finding)


def _command(finding: Finding) -> str:
    place = finding.location
    properties = {
        "title": f"gradlint ({finding.code})",
        "file": finding.path,
        "line": str(place.line),
        "endLine": str(place.end_line),
    }
    if place.line == place.end_line:
        # GitHub takes columns only for a stretch of a single line.
        properties |= {"col": str(place.column), "endColumn": str(place.end_column)}
    listed = ",".join(f"{key}={github_property(value)}" for key, value in properties.items())
    where = f"{finding.path}:{place.line}:{place.column}"
    words = f"{github_data(f'{where}: {finding.code} {finding.message}')}%0Ahelp: {github_data(finding.help)}"
    return f"::{_COMMANDS[finding.severity]} {listed}::{words}"
