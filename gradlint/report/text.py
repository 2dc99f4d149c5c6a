"""The formats for people: ``full``, ``concise`` and the table of ``--statistics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gradlint import registry
from gradlint.engine import Result
from gradlint.finding import Certainty, Finding, Location
from gradlint.report.frame import Piece, frame
from gradlint.report.sanitise import visible
from gradlint.source.positions import Excerpt

Line = list[Piece]


def full(result: Result, quiet: bool) -> Iterator[Line]:
    """Yield every finding with its code, its evidence and what to do, and then a summary."""
    for finding in result.findings:
        yield headline(finding)
        yield from story(finding, result.excerpts)
        yield []
    if not quiet:
        yield from summary(result)


def story(
    finding: Finding, excerpts: Mapping[tuple[str, Location], Excerpt], figures: Sequence[str] = ()
) -> Iterator[Line]:
    """Yield the lines below a finding's headline: its frame, the ``figures`` of a run, and what to do."""
    frame_lines = list(frame(finding, excerpts))
    yield from frame_lines
    indent = max((len(str(place.line)) for place in _places(finding)), default=1) + 2 if frame_lines else 2
    for figure in figures:
        yield [(" " * indent + "= run: ", "run"), (visible(figure), "")]
    if finding.help:
        yield [(" " * indent + "= help: ", "help"), (visible(finding.help), "")]


def concise(result: Result, quiet: bool) -> Iterator[Line]:
    """Yield one line per finding, and then a summary."""
    for finding in result.findings:
        yield headline(finding)
    if not quiet:
        yield from summary(result)


def statistics(result: Result, quiet: bool) -> Iterator[Line]:
    """Yield how often each rule was broken, most often first."""
    counts = Counter(finding.code for finding in result.findings)
    width = len(str(max(counts.values(), default=0)))
    for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield [(f"{count:>{width}}", "count"), ("  ", ""), (code, "code"), (f"  {registry.rule(code).name}", "")]
    if not quiet:
        yield from summary(result)


def summary(result: Result) -> Iterator[Line]:
    """Yield the last line: how much was found in how many files."""
    checked = f"{many(result.files, 'file')} checked"
    if not result.findings:
        yield [(f"All clean: {checked}", "clean")]
        return
    found = many(len(result.findings), "finding")
    files = many(len({finding.path for finding in result.findings}), "file")
    lost = f", {len(result.failed)} not fully analysed" if result.failed else ""
    yield [(f"Found {found} in {files} ({checked}{lost})", "summary")]


def headline(finding: Finding) -> Line:
    """Return the line that says where, which rule and what."""
    place = f"{finding.location.line}:{finding.location.column}"
    doubt = [] if finding.certainty is Certainty.CERTAIN else [(f" ({finding.certainty.value})", "gutter")]
    return [
        (visible(finding.path), "path"),
        (f":{place}: ", "gutter"),
        (finding.code, finding.severity.value),
        (f" {visible(finding.message)}", "message"),
        *doubt,
    ]


def _places(finding: Finding) -> Iterator[Location]:
    yield finding.location
    yield from (step.location for step in finding.evidence)


def many(count: int, noun: str) -> str:
    """Return ``1 file`` or ``3 files``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
