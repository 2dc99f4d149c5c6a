"""Linting a project of several files and holding the result against the comments in all of them.

A project is a folder with a few Python files that import each other; it is linted as a whole. Its files carry the
comments of single fixtures (`gradlint.testing.expectations`, `gradlint.testing.torch_claims`), and one more:
``# leads to: GRD102`` at the end of a line says that the evidence of such a finding in *another* file points there.
That is strict both ways, too. A ``# runtime:`` comment may also stand above ``if __name__ == "__main__":``: then the
file is run as a script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradlint.testing.expectations import ExpectationError, comments, compare, parse_expectations
from gradlint.testing.fixtures import contradictions, rendered
from gradlint.testing.torch_claims import Claim, parse_claims

if TYPE_CHECKING:
    from gradlint.engine import Result

_LEADS = re.compile(r"#\s*leads\s+to\b(?P<codes>[^#]*)")
_CODES = re.compile(r":\s*[A-Z]+[0-9]+(\s*,\s*[A-Z]+[0-9]+)*\s*")


def files(root: Path) -> list[Path]:
    """Return the Python files of the project ``root``, sorted."""
    return sorted(root.rglob("*.py"))


def lint_project(root: Path) -> Result:
    """Lint the project ``root`` at the default settings; paths are relative to it. A crash is raised."""
    from gradlint import Config, check_paths

    result = check_paths([root], Config(root=str(root)), jobs=1, raise_internal_errors=True)

    def inside(path: str) -> str:
        return Path(os.path.relpath(os.path.abspath(path), root)).as_posix()

    findings = tuple(
        replace(
            finding,
            path=inside(finding.path),
            evidence=tuple(replace(step, path=inside(step.path)) for step in finding.evidence),
        )
        for finding in result.findings
    )
    excerpts = {(inside(path), place): line for (path, place), line in result.excerpts.items()}
    return replace(result, findings=findings, failed=tuple(map(inside, result.failed)), excerpts=excerpts)


def check_project(root: Path) -> list[str]:
    """Lint the project ``root``; return what does not fit the expectations in its files, in words, by file and line.

    A function called ``..._ok`` must expect nothing. Raises `ExpectationError` for an unreadable comment.
    """
    result = lint_project(root)
    problems: list[str] = []
    wanted: set[tuple[str, int, str]] = set()
    for path in files(root):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        expectations = parse_expectations(text)
        found = [finding for finding in result.findings if finding.path == name]
        wrong = contradictions(text, expectations) + compare(expectations, found)
        problems += (f"{name}: {words}" for words in wrong)
        wanted |= {(name, line, code) for line, code in parse_leads(text)}
    pointed_at = {
        (step.path, step.location.line, finding.code)
        for finding in result.findings
        for step in finding.evidence
        if step.path != finding.path
    }
    problems += (f"{name}: line {line}: no evidence of {code} leads here" for name, line, code in wanted - pointed_at)
    problems += (
        f"{name}: line {line}: unexpected evidence of {code} in another file"
        for name, line, code in pointed_at - wanted
    )
    return sorted(problems)


def parse_leads(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and code of every ``# leads to:`` in ``text``. Raises `ExpectationError` for one without a code."""
    for line, _, comment in comments(text):
        for mark in _LEADS.finditer(comment):
            if not _CODES.fullmatch(mark["codes"]):
                raise ExpectationError(f'line {line}: write "# leads to: CODE"')
            yield from ((line, code.strip()) for code in mark["codes"].lstrip(":").split(","))


def project_snapshot(root: Path) -> str:
    """Return what ``gradlint check --format full`` says about the project ``root``, without colours and summary."""
    return rendered(lint_project(root))


def project_claims(root: Path) -> dict[Path, dict[str, Claim]]:
    """Return the claims of all files of the project ``root`` by function name. Raises `ClaimError` as in fixtures."""
    return {path: parse_claims(path.read_text(encoding="utf-8"), scripts=True) for path in files(root)}
