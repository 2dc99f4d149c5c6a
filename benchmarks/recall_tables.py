"""What `recall.measure` found, as text: rates, what was missed and why it may have been, traps that were reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bugs import NEEDS
from outcomes import HIT, LEFT_OUT, MISSED, NOT_HAD, Measured, Outcome, Report
from packages import align

# What can be decided by reading one file.
WITHIN_A_FILE = ("function", "class", "file")
SHOWN = 4


def report(measured: Measured) -> str:
    """Everything, the rates first."""
    found, traps = measured["bugs"], measured["traps"]
    parts = [heading(measured), rates(measured)]
    parts.append(listing("missed", [missed(each) for each in found if each["status"] == MISSED]))
    parts.append(listing("not silenced by the fix", [left(each) for each in found if each["silenced"] is False]))
    parts.append(listing("traps reported", [trap(each) for each in traps if each["status"] == HIT]))
    others = [each for each in traps if each["status"] == MISSED and each["others"]]
    parts.append(listing("traps reported for something else", [trap(each) for each in others]))
    absent = [each for each in [*found, *traps] if each["status"] == NOT_HAD]
    parts.append(listing("not had", [f"{each['id']}: {each['why']}" for each in absent]))
    unfixed = [each for each in found if each["status"] == HIT and each["why"]]
    parts.append(listing("hit, the fix not had", [f"{each['id']}: {each['why']}" for each in unfixed]))
    parts.append(listing("internal errors", measured["crashes"]))
    return "\n\n".join(part for part in parts if part)


def heading(measured: Measured) -> str:
    """What was measured, and how long it took."""
    found = measured["bugs"]
    counts = [f"{len(had(found))} of {len(found)} bugs measured"]
    counts += [
        f"{count} {words}"
        for status, words in ((LEFT_OUT, "left out: no rule for their codes"), (NOT_HAD, "not had"))
        if (count := sum(each["status"] == status for each in found))
    ]
    how = "each file alone" if measured["isolated"] else "with the rest of its repository"
    work = f"{measured['commits']} commits, {measured['files']} files, linted {how} in {measured['seconds']:.0f} s"
    traps = measured["traps"]
    fallen = sum(each["status"] == HIT for each in traps)
    caught = [f"{fallen} of {len(had(traps))} traps reported"] if traps else []
    return "\n".join(["; ".join(counts), *caught, work])


def rates(measured: Measured) -> str:
    """One row per group of bugs: how many are hit, and how many of the hits the fix silences."""
    found = had(measured["bugs"])
    rows = [["", "bugs", "hit", "%", "of which to silence", "silenced", "%", "of all bugs"]]
    rows += row("needs " + " or ".join(WITHIN_A_FILE), [each for each in found if each["needs"] in WITHIN_A_FILE])
    for needs in NEEDS:
        indent = "  " if needs in WITHIN_A_FILE else ""
        rows += row(f"{indent}needs {needs}", [each for each in found if each["needs"] == needs])
    for category in sorted({each["category"] for each in found}):
        rows += row(f"category {category}", [each for each in found if each["category"] == category])
    for code in sorted({code for each in found for code in each["codes"]}):
        named = [each for each in found if code in each["codes"]]
        rows += row(
            code if code in measured["rules"] else f"{code}, no rule",
            named,
            code,
        )
    return align([*rows, *row("all", found)])


def row(name: str, group: Sequence[Outcome], code: str = "") -> list[list[str]]:
    """The row of a group, if there is anything in it; with ``code`` only its hits count."""
    if not group:
        return []
    hits = [each for each in group if any(code in ("", hit["code"]) for hit in each["hits"])]
    asked = [each for each in hits if each["silenced"] is not None]
    silenced = sum(each["silenced"] is True for each in asked)
    cells = [len(group), len(hits), share(len(hits), len(group)), len(asked), silenced, share(silenced, len(asked))]
    return [[name, *map(str, cells), share(silenced, len(group))]]


def had(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that were measured."""
    return [each for each in outcomes if each["status"] in (HIT, MISSED)]


def share(part: int, whole: int) -> str:
    """A percentage, or a dash of nothing."""
    return f"{part / whole:.0%}" if whole else "-"


def missed(each: Outcome) -> str:
    """One missed bug: where, what, and what was reported instead."""
    lines = [f"{each['id']}  needs {each['needs']}  {', '.join(each['codes'])}  {each['kind']}", f"  {place(each)}"]
    lines += [f"  {each['note']}"] if each["note"] else []
    lines += [f"  there: {shown(each['others'])}"] if each["others"] else []
    lines += [f"  elsewhere in the file: {shown(each['elsewhere'])}"] if each["elsewhere"] else []
    return "\n  ".join(lines)


def left(each: Outcome) -> str:
    """One hit that the fix leaves."""
    return f"{each['id']}  {place(each)}  before: {shown(each['hits'])}; after: {shown(each['left'])}"


def trap(each: Outcome) -> str:
    """One trap and what is reported in it."""
    lines = [f"{each['id']}  {', '.join(each['codes'])}  {each['kind']}", f"  {place(each)}"]
    lines += [f"  {each['note']}"] if each["note"] else []
    lines += [f"  reported: {shown([*each['hits'], *each['others']], messages=True)}"]
    return "\n  ".join(lines)


def place(each: Outcome) -> str:
    """``owner/name path:line function``."""
    return f"{each['repository']} {each['file']}:{each['line']} {each['function']}".rstrip()


def shown(reports: Sequence[Report], *, messages: bool = False) -> str:
    """The first reports of a list."""
    texts = [f"{each['code']} at {each['line']}" + (f": {each['message']}" if messages else "") for each in reports]
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return ", ".join([*texts[:SHOWN], *more])


def listing(title: str, lines: Sequence[str]) -> str:
    """A titled list; nothing for an empty one."""
    return "\n  ".join([f"{title}: {len(lines)}", *lines]) if lines else ""
