"""Lint the pinned packages: findings per rule, crashes, time, and precision by the verdicts in ``judged.jsonl``."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import verdicts
from corpus import CACHE_VARIABLE, CorpusError, Tree, cache_folder, count_lines, pinned, provide
from linting import TIMEOUT_SECONDS, Found, Lint, Site, command_of, lint
from verdicts import Verdict, VerdictError, describe

INTERNAL_ERROR = "GRD002"
SHOWN = 40


@dataclass(frozen=True)
class Measured:
    """One package and what gradlint said about it."""

    tree: Tree
    files: int
    lines: int
    lint: Lint

    @property
    def name(self) -> str:
        """The package's name."""
        return self.tree.package.name

    @property
    def failures(self) -> list[str]:
        """The crash, files left out, and every internal error that was reported as a finding."""
        said = [f"{self.name}: {self.lint.crash}"] if self.lint.crash else []
        if not self.lint.crash and self.lint.files != self.files:
            # An exclusion that nobody asked for would make a package look clean.
            said.append(f"{self.name}: {self.lint.files} of {self.files} files were linted")
        broken = [found for found in self.lint.found if found.site.code == INTERNAL_ERROR]
        return said + [f"{describe(found.site)} {found.message}" for found in broken]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 after a crash or an internal error, 2 when a package cannot be had."""
    options = parser().parse_args(argv)
    cache = cache_folder(options.cache)
    try:
        judged = verdicts.load()
        trees = [provide(package, cache) for package in pinned(options.only)]
    except (CorpusError, VerdictError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.fetch_only:
        print("\n".join(f"{tree.package.name} {tree.package.version} {tree.folder}" for tree in trees))
        return 0
    command = command_of(options.gradlint)
    results = [measure(command, tree, options.timeout) for tree in trees]
    found = [finding for result in results for finding in result.lint.found]
    if options.write_findings:
        write_findings(found, Path(options.write_findings))
    print("\n\n".join([*tables(results), *precision(found, judged, trees, options.all)]))
    failures = [failure for result in results for failure in result.failures]
    if failures:
        print("\nFAILED\n" + "\n".join(failures))
    return 1 if failures else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--only", action="append", default=[], metavar="NAME", help="only this package (repeatable)")
    made.add_argument("--cache", metavar="DIR", help=f"downloads and unpacked packages (else ${CACHE_VARIABLE})")
    made.add_argument("--gradlint", metavar="COMMAND", help="command to run instead of this interpreter's gradlint")
    made.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="S", help="seconds per package")
    made.add_argument("--write-findings", metavar="FILE", help="write all findings there, one JSON object per line")
    made.add_argument("--fetch-only", action="store_true", help="download, check and unpack, then list the folders")
    made.add_argument("--all", action="store_true", help=f"list everything, not only the first {SHOWN} of a list")
    return made


def measure(command: Sequence[str], tree: Tree, timeout: float) -> Measured:
    """Lint one package."""
    files = tree.files()
    package = tree.package
    outcome = lint(command, tree.folder, tree.root, package.name, package.version, timeout)
    return Measured(tree, len(files), count_lines(files), outcome)


def write_findings(found: Sequence[Found], path: Path) -> None:
    """Write findings as JSON lines, sorted by place."""
    rows = sorted(found, key=lambda finding: (finding.site, finding.message))
    path.write_text("".join(json.dumps(row.row()) + "\n" for row in rows), encoding="utf-8")


def tables(results: Sequence[Measured]) -> list[str]:
    """The table of packages, and the one of rules with the packages they fire in."""
    per_package = [["package", "version", "files", "kLOC", "seconds", "findings", "per kLOC", "exit"]]
    for result in results:
        row = [result.name, result.tree.package.version, *numbers(result.files, result.lines, [result.lint])]
        per_package.append([*row, "crash" if result.lint.crash else str(result.lint.exit_code)])
    files, lines = sum(result.files for result in results), sum(result.lines for result in results)
    per_package.append(["all", "", *numbers(files, lines, [result.lint for result in results]), ""])
    counts: dict[str, Counter[str]] = {}
    for result in results:
        for finding in result.lint.found:
            counts.setdefault(finding.site.code, Counter())[result.name] += 1
    per_rule = [["rule", "findings", "packages"]]
    for code, where in sorted(counts.items()):
        per_rule.append([code, str(sum(where.values())), ", ".join(f"{name} {n}" for name, n in where.most_common())])
    return [align(per_package), align(per_rule)]


def numbers(files: int, lines: int, lints: Sequence[Lint]) -> list[str]:
    """The cells from ``files`` to ``per kLOC`` of a row."""
    findings = sum(len(outcome.found) for outcome in lints)
    seconds = sum(outcome.seconds for outcome in lints)
    density = findings / lines * 1000 if lines else 0.0
    return [str(files), f"{lines / 1000:.1f}", f"{seconds:.2f}", str(findings), f"{density:.3f}"]


def precision(
    found: Sequence[Found], judged: Mapping[Site, Verdict], trees: Sequence[Tree], everything: bool
) -> list[str]:
    """Precision per rule, then the places nobody judged and the verdicts whose finding is gone."""
    sites = [finding.site for finding in found]
    rows = [["rule", "places", "true", "false", "unsure", "unjudged", "precision"]]
    for code, said in verdicts.tally(sites, judged).items():
        share = "-" if said.precision is None else f"{said.precision:.0%}"
        rows.append([code, *map(str, (said.sites, said.true, said.false, said.unsure, said.unjudged)), share])
    rule_sites = {site for site in sites if not site.code.startswith(verdicts.ENGINE_CODE)}
    unjudged = [describe(site) for site in sorted(rule_sites - judged.keys())]
    lost = verdicts.gone(sites, judged, [tree.package for tree in trees])
    gone = [f"{describe(verdict.site)} was {verdict.verdict}: {verdict.why}" for verdict in lost]
    return [
        align(rows),
        listing("not judged yet", unjudged, everything),
        listing("judged, but not found any more", gone, everything),
    ]


def listing(title: str, lines: Sequence[str], everything: bool) -> str:
    """A titled list, cut after `SHOWN` lines unless ``everything`` is asked for."""
    shown = lines if everything else lines[:SHOWN]
    rest = [f"... and {len(lines) - len(shown)} more (--all)"] if len(lines) > len(shown) else []
    return "\n  ".join([f"{title}: {len(lines)}", *shown, *rest])


def align(rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns: the first to the left, the last as it is, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        middle = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *middle, row[-1]]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
