"""The generated part of the documentation: one page per rule, their index, and two blocks of the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from gradlint.registry import all_rules, page, summary
from gradlint.rule import Rule

FAMILIES = {
    "0": "The linter itself",
    "1": "Gradient mode",
    "2": "requires_grad and leaves",
    "3": "In-place edits",
    "4": "Graph lifetime and backward",
    "5": "Optimizer protocol",
    "6": "Custom functions and checkpointing",
    "9": "LibTorch",
}
_NOTE = "<!-- Generated from {source} by `python -m gradlint.dev docs`: edit the rule. -->"


def stale(root: Path) -> dict[Path, str | None]:
    """Return the generated files under ``root`` that are not as they should be, with their text; None: no such rule.

    Raises `ValueError` if the README lacks a marker, or if the demo cannot be linted.
    """
    wanted: dict[Path, str | None] = {}
    folder = root / "docs" / "rules"
    for rule in all_rules():
        wanted[folder / f"{rule.code}.md"] = rule_page(rule)
    wanted[folder / "index.md"] = index(all_rules())
    readme = root / "README.md"
    text = replace_block(readme.read_text(encoding="utf-8"), "rules", rules_table(all_rules(), "docs/rules/"))
    wanted[readme] = replace_block(text, "capture", capture(root))
    wanted.update({path: None for path in folder.glob("*.md") if path not in wanted})
    return {path: text for path, text in sorted(wanted.items()) if _current(path) != text}


def write(files: dict[Path, str | None]) -> None:
    """Write what `stale` returned; remove the files without text."""
    for path, text in files.items():
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def rule_page(rule: Rule) -> str:
    """Return the page of one rule as Markdown with a title."""
    name = type(rule).__module__.rpartition(".")[2]
    facts = f"Severity: {rule.severity.value}. Certainty: {rule.certainty.value}."
    note = _NOTE.format(source=f"`rules/{name}.py`")
    return f"{note}\n\n# {rule.code} {rule.name}\n\n{facts}\n\n{page(rule)}\n"


def index(rules: Iterable[Rule]) -> str:
    """Return the list of all rules, by family."""
    every = list(rules)
    parts = [_NOTE.format(source="`rules/`"), "# Rules"]
    for digit, title in FAMILIES.items():
        members = [rule for rule in every if rule.code[3] == digit]
        if members:
            parts += [f"## {title}", rules_table(members, "")]
    return "\n\n".join(parts) + "\n"


def rules_table(rules: Iterable[Rule], folder: str) -> str:
    """Return a Markdown table with a row per rule; links lead into ``folder``."""
    rows = ["| rule | finds | severity | certainty |", "|---|---|---|---|"]
    for rule in rules:
        link = f"[{rule.code}]({folder}{rule.code}.md) `{rule.name}`"
        finds = summary(rule).replace("|", "\\|")
        rows.append(f"| {link} | {finds} | {rule.severity.value} | {rule.certainty.value} |")
    return "\n".join(rows)


def capture(root: Path) -> str:
    """Return what gradlint really says about the demo, as a Markdown block. Raises `ValueError` if it fails."""
    command = [sys.executable, "-m", "gradlint", "check", "fixtures/demo", "--format", "full"]
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "110", "TERM": "dumb"}
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS"):
        env.pop(name, None)
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode not in (0, 1):
        raise ValueError(f"linting the demo failed with {done.returncode}: {done.stderr or done.stdout}")
    lines = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"```console\n$ gradlint check fixtures/demo\n{lines}\n```"


def replace_block(text: str, name: str, content: str) -> str:
    """Return ``text`` with ``content`` between ``<!-- name -->`` and ``<!-- /name -->``. Raises `ValueError`."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}{content}\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"README.md has {count} blocks called {name}, wanted one")
    return replaced
