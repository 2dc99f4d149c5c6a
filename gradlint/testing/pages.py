"""A rule's page: the docstring of its module, in Markdown, with examples that are linted.

The page starts with one sentence. Then follow the `HEADINGS`, in their order; ``## Fix safety`` only where the
rule has or plans a fix. In the ```` ```python ```` blocks of *Examples* the comment ``# error`` ends every line
that the rule must report; all other blocks must be silent.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

from gradlint.finding import Finding
from gradlint.testing.expectations import comments
from gradlint.testing.fixtures import lint

EXAMPLES = "Examples"
INSTEAD = "Use instead"
LIMITS = "Known limits"
RUNTIME = "Runtime check"
HEADINGS = ("Why this is wrong", EXAMPLES, INSTEAD, LIMITS, "Fix safety", RUNTIME)
OPTIONAL = frozenset({"Fix safety"})

SYNTAX_ERROR = "GRD000"

_FENCE = re.compile(r"(?P<ticks>`{3,})(?P<info>[^`]*)")
_ERROR = re.compile(r"#\s*error\s*$")


class PageError(ValueError):
    """A docstring that is no page: what is missing, doubled or out of order."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``flags`` are the words behind the language, ``line`` that of its first line in the page."""

    section: str
    language: str
    flags: tuple[str, ...]
    code: str
    line: int

    @property
    def error_lines(self) -> list[int]:
        """The lines (from 1) that end in ``# error``."""
        return [line for line, _, comment in comments(self.code) if _ERROR.search(comment)]


@dataclass(frozen=True, slots=True)
class Page:
    """A parsed page: ``summary`` is its first paragraph, ``sections`` maps headings to their text."""

    summary: str
    sections: dict[str, str] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    def python(self, section: str) -> list[Block]:
        """Return the Python blocks of one section."""
        return [block for block in self.blocks if block.section == section and block.language == "python"]


def parse_page(text: str) -> Page:
    """Split the cleaned docstring ``text``.

    Raises `PageError` when a heading is missing, unknown, doubled or out of order, when a block is not closed,
    or when one of the blocks that every page has is missing.
    """
    summary: list[str] = []
    sections: dict[str, list[str]] = {}
    blocks: list[Block] = []
    current, fence, start = "", "", 0
    block: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.fullmatch(line.strip())
        if fence:
            if mark and mark["ticks"] == fence and not mark["info"]:
                blocks[-1] = _filled(blocks[-1], block)
                fence = ""
            else:
                block.append(line)
        elif mark:
            fence, start, block = mark["ticks"], number + 1, []
            language, *flags = mark["info"].split() or [""]
            blocks.append(Block(current, language, tuple(flags), "", start))
        elif line.startswith("## "):
            current = line[3:].strip()
            if current in sections:
                raise PageError(f"line {number}: the heading {current!r} stands twice")
            sections[current] = []
            continue
        (sections[current] if current else summary).append(line)
    if fence:
        raise PageError(f"line {start - 1}: this block is not closed")
    page = Page(
        summary="\n".join(summary).strip(),
        sections={heading: "\n".join(lines).strip() for heading, lines in sections.items()},
        blocks=tuple(blocks),
    )
    _validate(page)
    return page


def _filled(block: Block, lines: list[str]) -> Block:
    return Block(block.section, block.language, block.flags, "\n".join(lines) + "\n", block.line)


def _validate(page: Page) -> None:
    if not page.summary:
        raise PageError("the page does not start with a sentence")
    present = list(page.sections)
    wanted = [heading for heading in HEADINGS if heading in present or heading not in OPTIONAL]
    if present != wanted:
        raise PageError(f"the headings are {present}, wanted {wanted}")
    empty = [heading for heading, text in page.sections.items() if not text]
    if empty:
        raise PageError(f"nothing stands under {empty}")
    for section in (EXAMPLES, INSTEAD):
        if not page.python(section):
            raise PageError(f"`## {section}` has no python block")
    if len(page.python(RUNTIME)) > 1:
        raise PageError(f"`## {RUNTIME}` has {len(page.python(RUNTIME))} python blocks, wanted one")


def page_of(module: ModuleType) -> Page:
    """Return the page of the rule that ``module`` defines. Raises `PageError` like `parse_page`."""
    return parse_page(inspect.cleandoc(module.__doc__ or ""))


def check_page(page: Page, code: str, lint: Callable[[str, str, str], list[Finding]] = lint) -> list[str]:
    """Lint every Python block of ``page`` alone; return in words where the rule ``code`` says something else.

    Findings of other rules are not looked at. ``lint`` takes source, path and code and returns findings.
    """
    return [
        problem
        for section in (EXAMPLES, INSTEAD, LIMITS)
        for block in page.python(section)
        for problem in _check_block(block, code, lint)
    ]


def _check_block(block: Block, code: str, lint: Callable[[str, str, str], list[Finding]]) -> Iterator[str]:
    wanted = block.error_lines
    if block.section == EXAMPLES and not wanted:
        yield f"line {block.line}: this example has no line that ends in `# error`"
    if block.section != EXAMPLES and wanted:
        yield f"line {block.line}: `# error` stands in a block of {block.section!r}, which must be silent"
    for finding in lint(block.code, "example.py", code):
        if finding.code != code:
            if finding.code == SYNTAX_ERROR:
                yield f"line {block.line}: this block is not Python: {finding.message}"
            continue
        line = finding.location.line
        if line in wanted:
            wanted.remove(line)
        else:
            yield f'line {block.line + line - 1}: unexpected {code} "{finding.message}"'
    for line in wanted:
        yield f"line {block.line + line - 1}: {code} is not reported"
