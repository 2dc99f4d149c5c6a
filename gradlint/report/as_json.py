"""The ``json`` format. Its fields are an interface: they are added to, and ``version`` counts what breaks it."""

from __future__ import annotations

import json
from collections import Counter

from gradlint.engine import Result
from gradlint.finding import Evidence, Finding, Fix, Location

VERSION = 1


def document(result: Result) -> str:
    """Return the result as JSON in plain ASCII: half characters in a file name are no valid UTF-8."""
    counts = Counter(finding.code for finding in result.findings)
    return json.dumps(
        {
            "version": VERSION,
            "findings": [as_object(finding) for finding in result.findings],
            "summary": {
                "files": result.files,
                "findings": len(result.findings),
                "by_code": dict(sorted(counts.items())),
                "not_analysed": list(result.failed),
            },
        },
        indent=2,
    )


def as_object(finding: Finding) -> dict[str, object]:
    """Return the fields of a finding."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "certainty": finding.certainty.value,
        "path": finding.path,
        **_location(finding.location),
        "message": finding.message,
        "help": finding.help,
        "evidence": [_evidence(step) for step in finding.evidence],
        "fixes": [_fix(fix) for fix in finding.fixes],
    }


def _evidence(step: Evidence) -> dict[str, object]:
    return {"path": step.path, **_location(step.location), "text": step.text}


def _fix(fix: Fix) -> dict[str, object]:
    edits = [{**_location(edit.location), "text": edit.text} for edit in fix.edits]
    return {"safety": fix.safety.value, "title": fix.title, "edits": edits}


def _location(place: Location) -> dict[str, int]:
    return {
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
    }
