"""Linting a fixture file and holding the result against its comments."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradlint.finding import Certainty, Finding
from gradlint.testing.expectations import Expectation, compare, parse_expectations

if TYPE_CHECKING:
    from gradlint.config import Config
    from gradlint.engine import Result

Function = ast.FunctionDef | ast.AsyncFunctionDef
"""A definition with ``def``."""


def lint(text: str, path: str, of: str = "") -> list[Finding]:
    """Return all findings in ``text``, sorted, at the default certainty. A crash of the analysis is raised.

    Of the rule with the code ``of`` also what is hidden by default, if all that it says is.
    """
    from gradlint import check_source

    return shown(check_source(text, path, _config(of), raise_internal_errors=True), of)


def _config(of: str) -> Config:
    """Return the configuration that lets through what a rule says, also of a torch that had the fault."""
    from gradlint import Config
    from gradlint.registry import all_rules

    hidden = any(rule.code == of and rule.certainty is Certainty.POSSIBLE for rule in all_rules())
    old = any(rule.code == of and rule.until for rule in all_rules())
    return Config(
        min_certainty=Certainty.POSSIBLE if hidden else Certainty.LIKELY, torch_version="1.10" if old else None
    )


def shown(findings: Iterable[Finding], of: str) -> list[Finding]:
    """Return what is shown by default, and the findings of the rule ``of``."""
    return [finding for finding in findings if finding.code == of or finding.certainty is not Certainty.POSSIBLE]


def check_fixture(path: Path) -> list[str]:
    """Lint the fixture ``path``; return what does not fit its expectations, in words.

    The folder is called after the rule. A function called ``..._ok`` must expect nothing. Raises `ExpectationError` for
    an unreadable comment.
    """
    text = path.read_text(encoding="utf-8")
    expectations = parse_expectations(text)
    return contradictions(text, expectations) + compare(expectations, lint(text, path.as_posix(), path.parent.name))


def contradictions(text: str, expectations: Iterable[Expectation]) -> list[str]:
    """Return in words where a function of ``text`` is called ok and expects something."""
    return [
        f"line {wanted.line}: `{function.name}` is called ok and expects {wanted.code}"
        for function in functions(text)
        if function.name.endswith("_ok")
        for wanted in expectations
        if wanted.kind != "todo-ok" and first_line(function) <= wanted.line <= (function.end_lineno or wanted.line)
    ]


def functions(text: str) -> list[Function]:
    """Return the functions of a fixture that state a case (named ``..._bad`` or ``..._ok``), methods included.

    A file that is not Python has none.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, Function) and node.name.endswith(("_bad", "_ok"))]


def first_line(function: Function) -> int:
    """Return the line on which a definition starts, decorators included."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def snapshot(text: str, path: str, of: str = "") -> str:
    """Return what ``gradlint check --format full`` says about ``text``, without colours and summary; see `lint`."""
    from gradlint.engine import check_bytes

    result = check_bytes(text.encode(), path, _config(of), raise_internal_errors=True)
    return rendered(replace(result, findings=tuple(shown(result.findings, of))))


def rendered(result: Result) -> str:
    """Return ``result`` as the format ``full`` shows it, without colours and summary; empty if nothing was found."""
    from gradlint.report.text import full

    lines = ["".join(piece for piece, _ in line).rstrip() for line in full(result, quiet=True)]
    return "\n".join(lines).rstrip() + "\n" if lines else ""
