"""Linting a fixture file and holding the result against its comments."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gradlint.finding import Finding
from gradlint.testing.expectations import Expectation, compare, parse_expectations

if TYPE_CHECKING:
    from gradlint.engine import Result

Function = ast.FunctionDef | ast.AsyncFunctionDef
"""A definition with ``def``."""


def lint(text: str, path: str) -> list[Finding]:
    """Return all findings in ``text``, sorted, at the default certainty. A crash of the analysis is raised."""
    from gradlint import check_source

    return check_source(text, path, raise_internal_errors=True)


def check_fixture(path: Path) -> list[str]:
    """Lint the fixture ``path``; return what does not fit its expectations, in words.

    A function called ``..._ok`` must expect nothing. Raises `ExpectationError` for an unreadable comment.
    """
    text = path.read_text(encoding="utf-8")
    expectations = parse_expectations(text)
    return contradictions(text, expectations) + compare(expectations, lint(text, path.as_posix()))


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


def snapshot(text: str, path: str) -> str:
    """Return what ``gradlint check --format full`` says about ``text``, without colours and summary."""
    from gradlint.engine import check_bytes

    return rendered(check_bytes(text.encode(), path, raise_internal_errors=True))


def rendered(result: Result) -> str:
    """Return ``result`` as the format ``full`` shows it, without colours and summary; empty if nothing was found."""
    from gradlint.report.text import full

    lines = ["".join(piece for piece, _ in line).rstrip() for line in full(result, quiet=True)]
    return "\n".join(lines).rstrip() + "\n" if lines else ""
