"""Break right code in known ways, one place at a time, and see for how many a finding appears that was not there."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import mutations_graphs
import mutations_modes
import mutations_protocol
from mutants import KINDS, File, Kind, Site
from outcomes import Report, report_of
from packages import align
from recall_tables import share, shown
from trees import INTERNAL_ERROR

from gradlint import Certainty, Config, Finding, check_source
from gradlint.fix.applying import FixError
from gradlint.fix.source import NoFix

FAMILIES = (mutations_modes, mutations_graphs, mutations_protocol)
"""The modules that register kinds."""
FOUND, OTHER, NONE = "found", "other", "none"
# Longer files are generated, or lists of everything; one would take as long as a hundred others.
MAX_CHARACTERS = 100_000


class MutationError(Exception):
    """Input that is not usable; the message says what and why."""


class Mutant(TypedDict):
    """What came of one mutant: ``found`` with a code that counts, ``other`` with another one only, or ``none``."""

    kind: str
    file: str
    line: int
    text: str
    status: str
    new: list[Report]


class Measured(TypedDict):
    """What `measure` returns; all of it can be written as JSON. ``crashes`` are internal errors of the linter."""

    seed: int
    most: int
    kinds: list[str]
    mutants: list[Mutant]
    crashes: list[str]
    files: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 after an internal error of the linter, 2 for input that is not usable."""
    options = parser().parse_args(argv)
    try:
        kinds = chosen(options.only)
        corpus = Path(options.corpus)
        if not corpus.is_dir():
            raise MutationError(f"{corpus} is no folder")
    except MutationError as error:
        print(error, file=sys.stderr)
        return 2
    measured = measure(
        corpus,
        kinds,
        options.seed,
        options.max,
        Config(min_certainty=Certainty(options.min_certainty)),
        say=lambda words: print(words, file=sys.stderr, flush=True),
    )
    if options.json:
        Path(options.json).write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(report(measured, every=options.list))
    return 1 if measured["crashes"] else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["kinds:", *map(described, KINDS.values())]),
    )
    made.add_argument("--corpus", required=True, metavar="FOLDER", help="Python files, anywhere in it")
    made.add_argument(
        "--seed", type=int, default=0, metavar="N", help="which files come first, and which places (else 0)"
    )
    made.add_argument("--max", type=int, default=50, metavar="N", help="mutants of each kind (else 50)")
    made.add_argument("--only", nargs="+", action="extend", default=[], metavar="KIND", help="only these kinds")
    made.add_argument(
        "--min-certainty",
        choices=[each.value for each in Certainty],
        default=Certainty.LIKELY.value,
        help="how sure a finding must be (else likely)",
    )
    made.add_argument("--list", action="store_true", help="show the places where nothing that counts was found")
    made.add_argument("--json", metavar="FILE", help="write everything there")
    return made


def described(kind: Kind) -> str:
    """What a kind does, why it is a mistake, and what counts as found, as three lines."""
    facts, codes = ", ".join(kind.rows), ", ".join(sorted(kind.codes))
    return f"  {kind.name}\n    {kind.does}\n    facts: {facts}; counts: {codes}"


def chosen(only: Sequence[str]) -> list[Kind]:
    """All kinds, or those that ``only`` names. Raises `MutationError` if it names something else."""
    unknown = sorted(set(only) - set(KINDS))
    if unknown:
        raise MutationError(f"no kinds: {', '.join(unknown)} (there are: {', '.join(KINDS)})")
    return [kind for kind in KINDS.values() if not only or kind.name in only]


def measure(
    corpus: Path,
    kinds: Sequence[Kind],
    seed: int,
    most: int,
    config: Config | None = None,
    *,
    say: Callable[[str], None] = lambda words: None,
) -> Measured:
    """Break files of ``corpus`` until there are ``most`` mutants of each kind, or no files; lint each before and after.

    A file gives at most one mutant of a kind. Which files and which places depends on ``seed`` only, and those of one
    kind not on what other kinds there are. ``say`` is told of progress.
    """
    made: Counter[str] = Counter()
    measured: Measured = {
        "seed": seed,
        "most": most,
        "kinds": [kind.name for kind in kinds],
        "mutants": [],
        "crashes": [],
        "files": 0,
    }
    for path in shuffled(corpus, seed):
        missing = [kind for kind in kinds if made[kind.name] < most]
        if not missing:
            break
        name = path.relative_to(corpus).as_posix()
        measured["files"] += 1
        for mutant, crashes in mutants(path, name, missing, seed, config or Config()):
            made[mutant["kind"]] += 1
            measured["mutants"].append(mutant)
            measured["crashes"] += crashes
            say(f"[{len(measured['mutants'])}] {mutant['kind']} {name}:{mutant['line']} {mutant['status']}")
    return measured


def shuffled(corpus: Path, seed: int) -> list[Path]:
    """The Python files in a folder but for tests, in an order that depends on ``seed``."""
    paths = sorted(path for path in corpus.rglob("*.py") if not is_test(path.relative_to(corpus)))
    random.Random(seed).shuffle(paths)
    return paths


def is_test(path: Path) -> bool:
    """Whether a file is one of tests, which do wrong things on purpose."""
    return path.name.startswith("test_") or any(part in ("test", "tests", "testing") for part in path.parts)


def mutants(
    path: Path, name: str, kinds: Sequence[Kind], seed: int, config: Config
) -> Iterator[tuple[Mutant, list[str]]]:
    """Yield a mutant of each kind that a file has a place for, and the internal errors of the linter.

    A file that cannot be read or parsed has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    kinds = [kind for kind in kinds if all(word in text for word in kind.words)]
    if not kinds or len(text) > MAX_CHARACTERS:
        return
    file, before = File(text), None
    for kind in kinds:
        try:
            sites = sorted(kind.sites(file), key=lambda site: site.line)
            if not sites:
                continue
            site = random.Random(f"{seed} {kind.name} {name}").choice(sites)
            broken = file.broken(site)
        except (NoFix, FixError):
            continue
        before = check_source(text, name, config) if before is None else before
        after = check_source(broken, name, config)
        yield (
            judged(kind, name, file, site, new(before, after)),
            [f"{name}: {each.message}" for each in (*before, *after) if each.code == INTERNAL_ERROR],
        )


def new(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """The findings of ``after`` that ``before`` has neither by their words nor by their line."""
    words = Counter((each.code, each.message) for each in before)
    lines = {(each.code, each.location.line) for each in before}
    found = []
    for each in sorted(after, key=lambda each: (each.code, each.location.line) not in lines):
        words[each.code, each.message] -= 1
        if words[each.code, each.message] < 0 and (each.code, each.location.line) not in lines:
            found.append(each)
    return sorted(found, key=lambda each: each.sort_key)


def judged(kind: Kind, name: str, file: File, site: Site, found: Sequence[Finding]) -> Mutant:
    """The mutant with what is new in it."""
    counts = any(each.code in kind.codes for each in found)
    return {
        "kind": kind.name,
        "file": name,
        "line": site.line,
        "text": file.line(site.line).strip(),
        "status": FOUND if counts else OTHER if found else NONE,
        "new": [report_of(each) for each in found],
    }


def report(measured: Measured, *, every: bool = False) -> str:
    """One row per kind, and if ``every`` is to be told the places where nothing that counts was found."""
    parts = [heading(measured), rates(measured)]
    if every:
        parts += [missed(measured, name) for name in measured["kinds"]]
    if measured["crashes"]:
        parts.append("\n  ".join([f"internal errors: {len(measured['crashes'])}", *measured["crashes"]]))
    return "\n\n".join(part for part in parts if part)


def heading(measured: Measured) -> str:
    """What was measured."""
    mutants, files = len(measured["mutants"]), measured["files"]
    return f"{mutants} mutants of {files} files read, seed {measured['seed']}, at most {measured['most']} of a kind"


def rates(measured: Measured) -> str:
    """The table."""
    rows = [["", "mutants", "found", "other", "none", "%"]]
    for name in measured["kinds"]:
        group = [each for each in measured["mutants"] if each["kind"] == name]
        rows.append(row(name, group))
    return align([*rows, row("all", measured["mutants"])])


def row(name: str, group: Sequence[Mutant]) -> list[str]:
    """The row of some mutants."""
    found, other, none = (sum(each["status"] == status for each in group) for status in (FOUND, OTHER, NONE))
    return [name, str(len(group)), str(found), str(other), str(none), share(found, len(group))]


def missed(measured: Measured, name: str) -> str:
    """The places of a kind where nothing that counts was found, with what was found instead."""
    lines = []
    for each in measured["mutants"]:
        if each["kind"] == name and each["status"] != FOUND:
            instead = f"  {shown(each['new'])}" if each["new"] else ""
            lines.append(f"{each['file']}:{each['line']}  {each['text']}{instead}")
    return "\n  ".join([f"{name}, missed: {len(lines)}", *lines]) if lines else ""


if __name__ == "__main__":
    sys.exit(main())
