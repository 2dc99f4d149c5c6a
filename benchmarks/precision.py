"""Lint the pinned packages, and say how often a default report is right by the verdicts in ``judged.jsonl``.

A verdict belongs to package, path, code and the *content* of the line, so that it outlives new lines above it. The exit
status is 0 when everything reported is judged; 1 when something is not, so that the figures are not final, when
gradlint crashes, or when the precision is below ``--at-least``; 2 when a package or a verdict is not usable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import verdicts
from corpus import CACHE_VARIABLE, CorpusError, Tree, cache_folder, pinned, provide
from judge import lines_of
from linting import TIMEOUT_SECONDS, Site, command_of
from packages import Measured, align, listing, measure
from verdicts import ENGINE_CODE, JUDGED, Tally, Verdict, VerdictError, describe


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parser().parse_args(argv)
    cache = cache_folder(options.cache)
    try:
        judged = list(verdicts.load(Path(options.judged)).values())
        trees = [provide(package, cache) for package in pinned(options.only)]
    except (CorpusError, VerdictError) as error:
        print(error, file=sys.stderr)
        return 2
    command = command_of(options.gradlint)
    results = [measure(command, tree, options.timeout) for tree in trees]
    found = texts_of(results)
    known = match(found, texts_of_verdicts(judged, trees))
    tallies = verdicts.tally(found, known)
    linted = {result.name for result in results}
    gone = [each for each in judged if each not in known.values() and each.site.package in linted]
    failures = [failure for result in results for failure in result.failures]
    print("\n\n".join([table(tallies), *lists(found, known, gone)]))
    if failures:
        print("\nFAILED\n" + "\n".join(failures))
    right = total(tallies.values()).precision
    low = options.at_least is not None and (right is None or 100 * right < options.at_least)
    return 1 if failures or low or found.keys() - known.keys() else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", action="append", default=[], metavar="NAME", help="only this package (repeatable)")
    made.add_argument("--judged", default=str(JUDGED), metavar="FILE", help="the verdicts (else judged.jsonl)")
    made.add_argument("--at-least", type=float, metavar="PERCENT", help="fail when fewer reports are right")
    made.add_argument("--cache", metavar="DIR", help=f"downloads and unpacked packages (else ${CACHE_VARIABLE})")
    made.add_argument("--gradlint", metavar="COMMAND", help="command to run instead of this interpreter's gradlint")
    made.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="S", help="seconds per package")
    return made


def texts_of(results: Iterable[Measured]) -> dict[Site, str]:
    """The places that rules report, each with the content of its line."""
    found = {}
    for result in results:
        for site in {each.site for each in result.lint.found if not each.site.code.startswith(ENGINE_CODE)}:
            found[site] = text_at(site, result.tree.root)
    return found


def texts_of_verdicts(judged: Iterable[Verdict], trees: Iterable[Tree]) -> dict[Verdict, str]:
    """The content of the line that each verdict is about; empty where neither the verdict nor a tree tells it."""
    roots = {(tree.package.name, tree.package.version): tree.root for tree in trees}
    texts = {}
    for verdict in judged:
        root = roots.get((verdict.site.package, verdict.site.version))
        texts[verdict] = verdict.text or (text_at(verdict.site, root) if root else "")
    return texts


def text_at(site: Site, root: Path) -> str:
    """The line of a place without the blanks around it; empty if there is no such line."""
    file = root / site.path
    lines = lines_of(file) if file.is_file() else []
    return lines[site.line - 1].strip() if site.line <= len(lines) else ""


def match(found: Mapping[Site, str], judged: Mapping[Verdict, str]) -> dict[Site, Verdict]:
    """The verdict on each place that has one.

    It is the verdict on the place itself, else one on an equal line of the same file in another version. Where lines
    that are equal were judged differently, the first answers to the first only if there are as many as before.
    """
    known = {verdict.site: verdict for verdict in judged if verdict.site in found}
    free: dict[tuple[str, str, str, str], list[Site]] = {}
    for site, text in sorted(found.items()):
        if site not in known and text:
            free.setdefault((site.package, site.path, site.code, text), []).append(site)
    older = sorted(judged.items(), key=lambda item: item[0].site)
    for key, sites in free.items():
        said = [
            verdict
            for verdict, text in older
            if (verdict.site.package, verdict.site.path, verdict.site.code, text) == key
            and verdict.site.version != sites[0].version
        ]
        if len(said) == len(sites) or len({verdict.verdict for verdict in said}) == 1:
            known.update(zip(sites, said, strict=False))
    return known


def table(tallies: Mapping[str, Tally]) -> str:
    """Precision by rule, and of all together."""
    rows = [["rule", "places", "true", "false", "unsure", "unjudged", "precision"]]
    for code, said in [*tallies.items(), ("all", total(tallies.values()))]:
        share = "-" if said.precision is None else f"{said.precision:.1%}"
        rows.append([code, *map(str, (said.sites, said.true, said.false, said.unsure, said.unjudged)), share])
    return align(rows)


def total(tallies: Iterable[Tally]) -> Tally:
    """All rules together."""
    each = list(tallies)
    return Tally(
        sum(said.true for said in each),
        sum(said.false for said in each),
        sum(said.unsure for said in each),
        sum(said.unjudged for said in each),
    )


def lists(found: Mapping[Site, str], known: Mapping[Site, Verdict], gone: Iterable[Verdict]) -> list[str]:
    """False alarms, what nobody judged, and verdicts whose finding is not there any more."""
    wrong = [f"{describe(site)}: {known[site].why}" for site in sorted(known) if known[site].verdict == "false"]
    unjudged = [f"{describe(site)}  {text}" for site, text in sorted(found.items()) if site not in known]
    lost = sorted(gone, key=lambda each: each.site)
    past = [f"{describe(each.site)} was {each.verdict}: {each.why}" for each in lost]
    return [
        listing("false alarms", wrong, True),
        listing("not judged yet", unjudged, True),
        listing("judged, but not found any more", past, True),
    ]


if __name__ == "__main__":
    sys.exit(main())
