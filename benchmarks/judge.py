"""Read findings in their source and record verdicts.

Without ``--add``: print what nobody judged yet in a file that ``packages.py --write-findings`` wrote, each with the
code around it and a row to fill in. With ``--add``: read such rows from standard input into ``judged.jsonl``.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import verdicts
from corpus import CACHE_VARIABLE, CorpusError, cache_folder, pinned, provide
from linting import Found, Site
from verdicts import VerdictError, describe

AROUND = 12
# Python counts only these as ends of lines; str.splitlines knows more.
LINE_END = re.compile(r"\r\n|\r|\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 2 when findings, packages or verdicts are not usable."""
    options = parser().parse_args(argv)
    try:
        if options.add:
            return add(sys.stdin.read(), cache_folder(options.cache), replace=options.replace)
        if options.findings is None:
            raise VerdictError("name a file that packages.py --write-findings wrote")
        for text in unjudged(options, cache_folder(options.cache)):
            print(text)
    except (CorpusError, VerdictError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("findings", nargs="?", metavar="FINDINGS", help="file of packages.py --write-findings")
    made.add_argument("--package", action="append", default=[], metavar="NAME", help="only this package (repeatable)")
    made.add_argument("--rule", action="append", default=[], metavar="CODE", help="only this rule (repeatable)")
    made.add_argument("--limit", type=int, metavar="N", help="at most this many")
    made.add_argument("--judged", action="store_true", help="show judged findings too, with their verdict")
    made.add_argument("--around", type=int, default=AROUND, metavar="N", help=f"lines around it (else {AROUND})")
    made.add_argument("--cache", metavar="DIR", help=f"where the packages are (else ${CACHE_VARIABLE})")
    made.add_argument("--add", action="store_true", help="add the verdicts on standard input")
    made.add_argument("--replace", action="store_true", help="with --add: a new verdict replaces the old one")
    return made


def add(text: str, cache: Path, *, replace: bool) -> int:
    """Add verdicts to ``judged.jsonl``; nothing is written when one of them is wrong.

    Raises `VerdictError` for a row that is no verdict, is about no line of a pinned package, or contradicts an
    earlier one.
    """
    judged = verdicts.load()
    before = len(judged)
    rows = verdicts.read(text, "standard input")
    lines = check_places([row.site for row in rows], cache)
    for row in (dataclasses.replace(row, text=lines[row.site]) for row in rows):
        old = judged.get(row.site)
        if old is not None and old.verdict != row.verdict and not replace:
            raise VerdictError(f"already judged {old.verdict}: {describe(row.site)} (--replace to change it)")
        judged[row.site] = row
    verdicts.save(judged)
    print(f"{len(rows)} read, {len(judged) - before} new, {len(judged)} in all")
    return 0


def check_places(sites: Sequence[Site], cache: Path) -> dict[Site, str]:
    """The line at each place, without the blanks around. Raises `VerdictError` if it is in no pinned package."""
    found = {}
    for name in sorted({site.package for site in sites}):
        package = pinned([name])[0]
        root = provide(package, cache).root
        for site in (site for site in sites if site.package == name):
            file = root / site.path
            lines = lines_of(file) if site.version == package.version and file.is_file() else []
            if site.line > len(lines):
                raise VerdictError(f"no such line in {name} {package.version}: {describe(site)}")
            found[site] = lines[site.line - 1].strip()
    return found


def unjudged(options: argparse.Namespace, cache: Path) -> Iterator[str]:
    """Yield one text per finding to judge. Raises `VerdictError` or `CorpusError` when a file is not usable."""
    judged = verdicts.load()
    shown = 0
    roots: dict[str, Path] = {}
    for found in read_findings(Path(options.findings)):
        site = found.site
        wanted = not options.package or site.package in options.package
        wanted = wanted and (not options.rule or site.code in options.rule)
        wanted = wanted and (options.judged or site not in judged)
        if not wanted or site.code.startswith(verdicts.ENGINE_CODE):
            continue
        if options.limit is not None and shown >= options.limit:
            return
        shown += 1
        if site.package not in roots:
            roots[site.package] = root_of(site, cache)
        old = judged.get(site)
        row = {**asdict(site), "verdict": old.verdict if old else "", "why": old.why if old else ""}
        lines = lines_of(roots[site.package] / site.path)
        yield f"{'=' * 110}\n{show(found, lines, options.around)}\n{json.dumps(row, ensure_ascii=False)}"


def root_of(site: Site, cache: Path) -> Path:
    """The folder its package is unpacked in. Raises `VerdictError` when the finding is about another version."""
    package = pinned([site.package])[0]
    if package.version != site.version:
        raise VerdictError(f"{describe(site)}: pinned is {package.version}")
    return provide(package, cache).root


def lines_of(file: Path) -> list[str]:
    """The lines of a source file, without their ends."""
    return LINE_END.split(file.read_bytes().decode(errors="replace"))


def read_findings(path: Path) -> Iterator[Found]:
    """Yield the findings in a file of ``packages.py --write-findings``. Raises `VerdictError` for a wrong row."""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            site = Site(row["package"], row["version"], row["path"], row["line"], row["code"])
            because = tuple((path, line, words) for path, line, words in row["because"])
            yield Found(site, row["message"], row["certainty"], because)
        except (ValueError, KeyError, TypeError) as error:
            raise VerdictError(f"{path.name}:{number}: no finding ({error!r})") from None


def show(found: Found, lines: Sequence[str], around: int = AROUND) -> str:
    """The finding, its evidence, the headers of the functions it stands in, and the lines around it.

    ``>`` marks the line of the finding, ``*`` lines of its evidence.
    """
    site = found.site
    steps = {line for path, line, _ in found.because if path == site.path}
    text = [f"{describe(site)} ({found.certainty}) {found.message}"]
    text += [f"    because {path}:{line}: {words}" for path, line, words in found.because]
    wanted = {*range(site.line - around, site.line + around + 1), *headers("\n".join(lines), site.line), *steps}
    before = 0
    for number in sorted(line for line in wanted if 1 <= line <= len(lines)):
        if number > before + 1:
            text.append("     ...")
        mark = ">" if number == site.line else "*" if number in steps else " "
        text.append(f"{mark}{number:6} {visible(lines[number - 1])}".rstrip())
        before = number
    return "\n".join(text)


def headers(source: str, line: int) -> list[int]:
    """Lines of the ``class``, ``def`` and decorators around ``line``, outermost first; none if it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
    found: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if start <= line <= (node.end_lineno or node.lineno):
                # A signature may span lines: show it whole, up to where the body starts.
                found += range(start, max(node.lineno, min(node.body[0].lineno - 1, node.lineno + AROUND)) + 1)
    return sorted(set(found))


def visible(text: str) -> str:
    """``text`` with everything a terminal could act on written as an escape."""
    return "".join(sign if sign.isprintable() or sign == "\t" else ascii(sign)[1:-1] for sign in text)


if __name__ == "__main__":
    sys.exit(main())
