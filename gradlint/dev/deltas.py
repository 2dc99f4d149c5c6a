"""Two answers about the same sources: which findings one has and the other has not, and which differ, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlint.dev.revisions import Answer
from gradlint.source.reading import plain

Found = Mapping[str, Any]
# What makes a finding this finding; all else about it may change.
_PLACE = ("path", "line", "column", "code")
_SHOWN = ("certainty", "severity", "message", "evidence", "help", "fixes")


@dataclass(frozen=True)
class Compared:
    """One tree, named ``name``, and what both sides say about it. Paths of findings are relative to ``folder``."""

    name: str
    folder: Path
    base: Answer
    now: Answer

    @property
    def comparable(self) -> bool:
        """Whether both sides answered: a crash makes all findings of the other side look new or lost."""
        return not self.base.crash and not self.now.crash


@dataclass(frozen=True)
class Delta:
    """One difference in a tree: ``before`` is None for what was added, ``after`` for what was removed."""

    tree: Compared
    before: Found | None
    after: Found | None

    @property
    def finding(self) -> Found:
        """The finding, as it is now if it still is."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def changed(self) -> list[str]:
        """The names of what is different about a finding that both sides have."""
        if self.before is None or self.after is None:
            return []
        names = [*_SHOWN, *sorted((self.before.keys() | self.after.keys()) - set(_SHOWN))]
        return [name for name in names if self.before.get(name) != self.after.get(name)]


def deltas(trees: Iterable[Compared]) -> list[Delta]:
    """Return all differences in trees that both sides answered about, by rule, kind, tree and place."""
    found = [delta for tree in trees if tree.comparable for delta in _differences(tree)]
    order = {"added": 0, "removed": 1, "changed": 2}
    return sorted(found, key=lambda each: (each.finding["code"], order[each.kind], each.tree.name, *_key(each.finding)))


def _differences(tree: Compared) -> list[Delta]:
    before, after = _by_place(tree.base.findings), _by_place(tree.now.findings)
    found = []
    for place in before.keys() | after.keys():
        old, new = list(before.get(place, ())), list(after.get(place, ()))
        for each in tuple(old):
            if each in new:
                old.remove(each)
                new.remove(each)
        # What is left at one place changed, as far as there are as many.
        paired = min(len(old), len(new))
        found += [Delta(tree, *pair) for pair in zip(old, new, strict=False)]
        found += [Delta(tree, each, None) for each in old[paired:]] + [Delta(tree, None, each) for each in new[paired:]]
    return found


def _by_place(findings: Iterable[Found]) -> dict[tuple[Any, ...], list[Found]]:
    places: dict[tuple[Any, ...], list[Found]] = {}
    for each in sorted(findings, key=_key):
        places.setdefault(tuple(each[name] for name in _PLACE), []).append(each)
    return places


def _key(finding: Found) -> tuple[str, int, int, str, str]:
    return (finding["path"], finding["line"], finding["column"], finding["code"], finding["message"])


def markdown(names: tuple[str, str], trees: Sequence[Compared]) -> str:
    """Return the comparison of the sides called ``names`` as Markdown: trees, rules, then every difference."""
    found = deltas(trees)
    parts = [f"# gradlint: {names[0]} → {names[1]}", _tree_table(trees), _rule_table(trees, found)]
    errors = [
        f"- {tree.name}, {name}: {_plain(words)}"
        for tree in trees
        for name, answer in zip(names, (tree.base, tree.now), strict=True)
        for words in answer.errors
    ]
    parts += ["\n".join(["## Crashes", "", *errors])] if errors else []
    for code in sorted({each.finding["code"] for each in found}):
        for kind in ("added", "removed", "changed"):
            some = [each for each in found if each.finding["code"] == code and each.kind == kind]
            parts += ["\n\n".join([f"## {code} {kind}: {len(some)}", *map(_described, some)])] if some else []
    return "\n\n".join(parts) + "\n"


def _tree_table(trees: Sequence[Compared]) -> str:
    rows = ["| tree | files | findings before | now | seconds before | now | crashes before | now |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for tree in trees:
        rows.append(f"| {tree.name} | {max(tree.base.files, tree.now.files)} | {_cells([tree])} |")
    rows.append(f"| all | {sum(max(tree.base.files, tree.now.files) for tree in trees)} | {_cells(trees)} |")
    return "\n".join(rows)


def _cells(trees: Sequence[Compared]) -> str:
    sides = [[tree.base for tree in trees], [tree.now for tree in trees]]
    counts = [str(sum(len(answer.findings) for answer in side)) for side in sides]
    seconds = [f"{sum(answer.seconds for answer in side):.1f}" for side in sides]
    crashes = [str(sum(len(answer.errors) for answer in side)) for side in sides]
    return " | ".join([*counts, *seconds, *crashes])


def _rule_table(trees: Sequence[Compared], found: Sequence[Delta]) -> str:
    whole = [tree for tree in trees if tree.comparable]
    before = Counter(each["code"] for tree in whole for each in tree.base.findings)
    now = Counter(each["code"] for tree in whole for each in tree.now.findings)
    kinds = Counter((each.finding["code"], each.kind) for each in found)
    rows = ["| rule | before | now | added | removed | changed |", "|---|---|---|---|---|---|"]
    for code in sorted({*before, *now}):
        counts = [kinds[code, kind] for kind in ("added", "removed", "changed")]
        rows.append(f"| {code} | {before[code]} | {now[code]} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows)


def _described(delta: Delta) -> str:
    """One difference: where, the source line, the words, and the evidence; of a change only what changed."""
    finding = delta.finding
    place = f"{finding['path']}:{finding['line']}:{finding['column']}"
    lines = [f"- {delta.tree.name} `{place}` ({finding['certainty']}) {_plain(finding['message'])}", ""]
    lines += [f"      {_source_line(delta.tree.folder, finding)}", ""]
    if delta.before is None or delta.after is None:
        lines += [f"  - {step}" for step in _steps(finding)]
    for name in delta.changed:
        lines += [f"  - {name} was: {_value(delta.before, name)}", f"  - {name} is: {_value(delta.after, name)}"]
    return "\n".join(lines).rstrip()


def _source_line(folder: Path, finding: Found) -> str:
    lines = plain((folder / finding["path"]).read_bytes().decode(errors="replace")).split("\n")
    number = int(finding["line"])
    return _plain(lines[number - 1].strip()) if number <= len(lines) else ""


def _steps(finding: Found) -> list[str]:
    return [f"`{step['path']}:{step['line']}` {_plain(step['text'])}" for step in finding["evidence"]]


def _value(finding: Found | None, name: str) -> str:
    assert finding is not None
    if name == "evidence":
        return "; ".join(_steps(finding)) or "none"
    if name == "fixes":
        fixes = [f"{fix['title']} {[edit['text'] for edit in fix['edits']]}" for fix in finding["fixes"]]
        return _plain("; ".join(fixes)) or "none"
    return _plain(str(finding.get(name, "none")))


def _plain(text: str) -> str:
    """``text`` on one line, with everything a terminal could act on written as an escape."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
