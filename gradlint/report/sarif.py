"""The ``sarif`` format, version 2.1.0, for code scanning services."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import gradlint
from gradlint import registry
from gradlint.codes import FAILURES
from gradlint.engine import Result
from gradlint.finding import Edit, Evidence, Finding, Location, Severity
from gradlint.report.sanitise import sarif_text

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}

_Object = dict[str, object]


def document(result: Result) -> str:
    """Return the result as SARIF."""
    return log(run(result))


def log(run: _Object) -> str:
    """Return the SARIF log that holds nothing but ``run``."""
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def run(result: Result) -> _Object:
    """Return the run of a result: what was not analysed is a notification of the tool and not a result.

    The run's ``results`` are in the order of the findings. A code that is no rule's is described by its finding.
    """
    findings = [finding for finding in result.findings if finding.code not in FAILURES]
    failures = [finding for finding in result.findings if finding.code in FAILURES]
    return {
        "tool": {
            "driver": {
                "name": "gradlint",
                "version": gradlint.__version__,
                "rules": _descriptors(findings),
                "notifications": _descriptors(failures),
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"uri": Path.cwd().as_uri().rstrip("/") + "/"}},
        "invocations": [
            {
                "executionSuccessful": not result.failed,
                "toolExecutionNotifications": [_notification(failure) for failure in failures],
            }
        ],
        "results": _results(findings, result),
    }


def _results(findings: Iterable[Finding], result: Result) -> list[_Object]:
    codes = sorted({finding.code for finding in findings})
    seen: Counter[str] = Counter()
    results: list[_Object] = []
    for finding in findings:
        excerpt = result.excerpts.get((finding.path, finding.location))
        identity = _identity(finding, excerpt.text if excerpt else "")
        results.append(_result(finding, codes.index(finding.code), f"{identity}:{seen[identity]}"))
        seen[identity] += 1
    return results


def _identity(finding: Finding, line: str) -> str:
    """Return what stays the same when the finding moves: the rule, the file and the words of the line.

    It is our own kind of fingerprint, since ``primaryLocationLineHash`` is computed by GitHub when it is missing
    and compared with its own when it is not.
    """
    words = "\0".join((finding.code, finding.path, "".join(line.split())))
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _result(finding: Finding, index: int, fingerprint: str) -> _Object:
    result: _Object = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": sarif_text(f"{finding.message}; {finding.help}")},
        "locations": [_location(finding.path, finding.location)],
        "partialFingerprints": {"gradlint/v1": fingerprint},
        "properties": {"certainty": finding.certainty.value},
    }
    if finding.evidence:
        last = Evidence(finding.path, finding.location, finding.message)
        steps = [step for step in finding.evidence if (step.path, step.location) != (last.path, last.location)]
        flow = [{"location": _location(step.path, step.location, step.text)} for step in [*steps, last]]
        result["codeFlows"] = [{"threadFlows": [{"locations": flow}]}]
    if finding.fixes:
        artifact = _artifact(finding.path)
        result["fixes"] = [
            {
                "description": {"text": sarif_text(f"{fix.title} ({fix.safety.value})")},
                "artifactChanges": [
                    {"artifactLocation": artifact, "replacements": [_replacement(edit) for edit in fix.edits]}
                ],
            }
            for fix in finding.fixes
        ]
    return result


def _replacement(edit: Edit) -> _Object:
    return {"deletedRegion": _region(edit.location), "insertedContent": {"text": edit.text}}


def _notification(failure: Finding) -> _Object:
    return {
        "descriptor": {"id": failure.code},
        "level": _LEVELS[failure.severity],
        "message": {"text": sarif_text(failure.message)},
        "locations": [_location(failure.path, failure.location)],
    }


def _descriptors(findings: Iterable[Finding]) -> list[_Object]:
    first = {finding.code: finding for finding in reversed(list(findings))}
    return [_descriptor(first[code]) for code in sorted(first)]


def _descriptor(finding: Finding) -> _Object:
    try:
        rule = registry.rule(finding.code)
    except registry.UnknownRule:
        return {"id": finding.code, "name": _pascal(finding.name), "shortDescription": {"text": _pascal(finding.name)}}
    return {
        "id": rule.code,
        "name": _pascal(rule.name),
        "shortDescription": {"text": sarif_text(registry.summary(rule))},
        "help": {"text": registry.page(rule), "markdown": registry.page(rule)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"precision": {"certain": "very-high", "likely": "high"}.get(rule.certainty.value, "medium")},
    }


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _location(path: str, place: Location, words: str = "") -> _Object:
    location: _Object = {
        "physicalLocation": {
            "artifactLocation": _artifact(path),
            "region": _region(place),
        }
    }
    return {**location, "message": {"text": sarif_text(words)}} if words else location


def _region(place: Location) -> _Object:
    return {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    }


def _artifact(path: str) -> _Object:
    """Return where the file is: below the root of the sources, or as an absolute address."""
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        return {"uri": "file://" + quote(os.fsencode(os.path.abspath(path)))}
    return {"uri": quote(os.fsencode(path.replace(os.sep, "/"))), "uriBaseId": "SRCROOT"}
