"""Lint real gradient bugs before and after their fix: which are found, and which findings the fix silences."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import bugs
from bugs import Bug, BugError
from corpus import CACHE_VARIABLE, cache_folder
from outcomes import HIT, LEFT_OUT, Measured, blank, hit_or_missed, judge_fix
from recall_tables import report
from trees import Bench, Commits
from verdicts import ENGINE_CODE

from gradlint import Certainty, registry


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 after an internal error of the linter, 2 for input that is not usable."""
    options = parser().parse_args(argv)
    try:
        found, traps = (chosen(path, options.only) for path in (options.bugs, options.traps))
        unknown = set(options.only) - {bug.id for bug in [*found, *traps]}
        if unknown:
            raise BugError(f"nothing is called {', '.join(sorted(unknown))}")
        if not Path(options.mirrors).is_dir():
            raise BugError(f"{options.mirrors} is no folder")
    except (BugError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    measured = measure(
        found,
        traps,
        Path(options.mirrors),
        Bench(cache_folder(options.cache), options.isolated, options.jobs, Certainty(options.min_certainty)),
        every_code=options.codes == "all",
        say=lambda words: print(words, file=sys.stderr, flush=True),
    )
    if options.json:
        Path(options.json).write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(report(measured))
    return 1 if measured["crashes"] else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--bugs", required=True, metavar="FILE", help="the bugs, as JSON lines")
    made.add_argument("--traps", metavar="FILE", help="code that only looks like a bug, as JSON lines")
    made.add_argument("--mirrors", required=True, metavar="FOLDER", help="git repositories, bare or cloned")
    made.add_argument("--only", nargs="+", action="extend", default=[], metavar="ID", help="only these")
    made.add_argument(
        "--codes",
        choices=("existing", "all"),
        default="existing",
        help="whether bugs count for whose codes there is no rule (else existing: they do not)",
    )
    made.add_argument("--isolated", action="store_true", help="lint each file without the rest of its repository")
    made.add_argument(
        "--min-certainty",
        choices=[each.value for each in Certainty],
        default=Certainty.LIKELY.value,
        help="how sure a finding must be (else likely)",
    )
    made.add_argument("--json", metavar="FILE", help="write everything there")
    made.add_argument("--cache", metavar="DIR", help=f"what was checked out (else ${CACHE_VARIABLE})")
    made.add_argument("--jobs", type=int, default=1, metavar="N", help="processes per repository (else 1)")
    return made


def chosen(path: str | None, only: Sequence[str]) -> list[Bug]:
    """The bugs in a file, or those of them that ``only`` names. Raises `BugError` if it holds something else."""
    known = bugs.load(Path(path)) if path else []
    return [bug for bug in known if not only or bug.id in only]


def measure(
    found: Sequence[Bug],
    traps: Sequence[Bug],
    mirrors: Path,
    bench: Bench,
    *,
    every_code: bool = False,
    say: Callable[[str], None] = lambda words: None,
) -> Measured:
    """Lint the parent of every bug and trap, and the fix of every bug that is hit.

    ``mirrors`` is the folder with the repositories, ``bench`` says how they are linted. ``every_code`` counts bugs
    that no rule could find, too. ``say`` is told of progress. Nothing is raised for what is not there: see `Outcome`.
    """
    rules = sorted(rule.code for rule in registry.all_rules() if not rule.code.startswith(ENGINE_CODE))
    wanted = [bug for bug in found if every_code or set(bug.codes) & set(rules)]
    commits = Commits(mirrors, bench, say)
    commits.lint((bug.repository, bug.parent, bug.file) for bug in [*wanted, *traps])
    outcomes = {bug.id: hit_or_missed(bug, commits) for bug in wanted}
    hits = [bug for bug in wanted if outcomes[bug.id]["status"] == HIT and bug.fix]
    commits.lint((bug.repository, bug.fix, bug.file) for bug in hits)
    for bug in hits:
        judge_fix(bug, outcomes[bug.id], commits)
    return {
        "isolated": bench.isolated,
        "rules": rules,
        "bugs": [outcomes.get(bug.id) or blank(bug, LEFT_OUT, "there is no rule for it") for bug in found],
        "traps": [hit_or_missed(bug, commits) for bug in traps],
        "crashes": [f"{name} {commit[:10]} {said}" for name, commit, seen in commits.seen() for said in seen.crashes],
        "commits": len(list(commits.seen())),
        "files": sum(seen.files for _, _, seen in commits.seen()),
        "seconds": sum(seen.seconds for _, _, seen in commits.seen()),
    }


if __name__ == "__main__":
    sys.exit(main())
