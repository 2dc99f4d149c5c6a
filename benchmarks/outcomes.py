"""What comes of real bugs when their repositories are linted: hits, and whether the fix silences them."""

from __future__ import annotations

from typing import TypedDict

import bugs
from bugs import Bug
from trees import Commits

from gradlint import Finding

HIT, MISSED, NOT_HAD, LEFT_OUT = "hit", "missed", "not had", "left out"


class Report(TypedDict):
    """A finding, without its evidence."""

    code: str
    line: int
    certainty: str
    message: str


class Outcome(TypedDict):
    """What came of one bug or trap.

    ``status`` is ``hit``, ``missed``, ``not had`` (``why`` says what is missing) or ``left out`` (no rule has one of
    its codes). ``hits`` are the reports that count. ``silenced`` is None without a hit, without a fixed version, or
    where the fix is not meant to silence anything; ``left`` is what the fix leaves. ``others`` are reports with other
    codes in the function, ``elsewhere`` those with an accepted code in the rest of the file.
    """

    id: str
    repository: str
    file: str
    function: str
    line: int
    category: str
    needs: str
    kind: str
    codes: list[str]
    note: str
    status: str
    why: str
    hits: list[Report]
    silenced: bool | None
    left: list[Report]
    others: list[Report]
    elsewhere: list[Report]


class Measured(TypedDict):
    """What `measure` returns; all of it can be written as JSON. ``crashes`` are internal errors of the linter."""

    isolated: bool
    rules: list[str]
    bugs: list[Outcome]
    traps: list[Outcome]
    crashes: list[str]
    commits: int
    files: int
    seconds: float


def hit_or_missed(bug: Bug, commits: Commits) -> Outcome:
    """Look for reports in the parent that count."""
    there = commits.file(bug.repository, bug.parent, bug.file)
    if isinstance(there, str):
        return blank(bug, NOT_HAD, there)
    source, findings = there
    spans = bugs.places(bug, source)
    inside = [each for each in findings if bugs.within(each.location.line, spans)]
    hits = [each for each in inside if each.code in bug.codes]
    made = blank(bug, HIT if hits else MISSED, "")
    made["hits"] = [report_of(each) for each in hits]
    made["others"] = [report_of(each) for each in inside if each not in hits]
    made["elsewhere"] = [report_of(each) for each in findings if each.code in bug.codes and each not in inside]
    return made


def judge_fix(bug: Bug, outcome: Outcome, commits: Commits) -> None:
    """Fill in whether the fix silences the hits: where they stood it must leave no report with one of their codes."""
    before = commits.file(bug.repository, bug.parent, bug.file)
    after = commits.file(bug.repository, bug.fix, bug.file)
    if isinstance(before, str) or isinstance(after, str):
        outcome["why"] = f"the fix was not seen: {after}"
        return
    codes = {each["code"] for each in outcome["hits"]}
    spans = []
    for number, span in enumerate(bugs.places(bug, before[0])):
        if number == 0 or any(bugs.within(each["line"], [span]) for each in outcome["hits"]):
            spans += bugs.counterparts(bug, number, before[0], after[0])
    left = [each for each in after[1] if each.code in codes and bugs.within(each.location.line, spans)]
    outcome["left"] = [report_of(each) for each in left]
    outcome["silenced"] = not left if bug.silenced else None


def blank(bug: Bug, status: str, why: str) -> Outcome:
    """The outcome of a bug of which nothing is known but its status."""
    return {
        "id": bug.id,
        "repository": bug.repository,
        "file": bug.file,
        "function": bug.function,
        "line": bug.spans[0][0],
        "category": bug.category,
        "needs": bug.needs,
        "kind": bug.kind,
        "codes": list(bug.codes),
        "note": bug.note,
        "status": status,
        "why": why,
        "hits": [],
        "silenced": None,
        "left": [],
        "others": [],
        "elsewhere": [],
    }


def report_of(finding: Finding) -> Report:
    """The finding as plain data."""
    return {
        "code": finding.code,
        "line": finding.location.line,
        "certainty": finding.certainty.value,
        "message": finding.message,
    }
