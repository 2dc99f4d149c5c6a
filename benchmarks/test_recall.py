"""Real bugs in small repositories: what counts as hit, what as silenced, what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bugs
import pytest
import recall
import trees
from bugs import Bug, BugError
from outcomes import Measured, Outcome
from recall_tables import report
from trees import Bench

from gradlint import Certainty

Commit = Callable[[Path, Mapping[str, str | None]], str]

BAD = """import torch


class Trainer:
    def step(self, model, x):
        with torch.no_grad():
            loss = model(x).sum()
        loss.backward()
"""
GOOD = BAD.replace("        with torch.no_grad():\n            loss", "        loss")
ROW: dict[str, Any] = {
    "id": "n-1",
    "repo": "o/n",
    "file": "pkg/a.py",
    "function": "step",
    "function_start": 5,
    "function_end": 8,
    "category": "A",
    "kind": "backward-in-no-grad",
    "codes": ["GRD101"],
    "needs": "function",
    "silenced": True,
    "note": "the loss has no graph",
}


@pytest.fixture
def bug(tmp_path: Path, commit: Commit) -> Callable[..., Bug]:
    """Make a repository with a file before and after its fix, and the bug in it; the rest changes the row."""

    def make(before: str = BAD, after: str = GOOD, **changes: Any) -> Bug:
        folder = tmp_path / "mirrors" / "o" / "n"
        parent = commit(folder, {changes.get("file", ROW["file"]): before, "old.py": "print 'Python 2'\n"})
        fix = commit(folder, {changes.get("file", ROW["file"]): after})
        return bugs.bug_of({**ROW, "parent_commit": parent, "fix_commit": fix, **changes})

    return make


def measured(tmp_path: Path, *found: Bug, traps: tuple[Bug, ...] = (), **options: Any) -> Measured:
    every_code = options.pop("every_code", False)
    bench = Bench(tmp_path / "cache", **options)
    return recall.measure(found, traps, tmp_path / "mirrors", bench, every_code=every_code)


def only(tmp_path: Path, bug: Bug, **options: Any) -> Outcome:
    (outcome,) = measured(tmp_path, bug, **options)["bugs"]
    return outcome


def lines(outcome: Outcome, name: str) -> list[tuple[str, int]]:
    reports: list[dict[str, Any]] = dict(outcome)[name]  # type: ignore[assignment]
    return [(each["code"], each["line"]) for each in reports]


# -- what counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [True, False])
def test_a_bug_that_is_found_and_mended_is_hit_and_silenced(
    tmp_path: Path, bug: Callable[..., Bug], isolated: bool
) -> None:
    whole = measured(tmp_path, bug(), isolated=isolated)
    (outcome,) = whole["bugs"]
    (hit,) = outcome["hits"]
    assert (hit["code"], hit["line"], hit["certainty"]) == ("GRD101", 8, "certain")
    assert outcome == {
        "id": "n-1",
        "repository": "o/n",
        "file": "pkg/a.py",
        "function": "step",
        "line": 5,
        "category": "A",
        "needs": "function",
        "kind": "backward-in-no-grad",
        "codes": ["GRD101"],
        "note": "the loss has no graph",
        "status": "hit",
        "why": "",
        "hits": [hit],
        "silenced": True,
        "left": [],
        "others": [],
        "elsewhere": [],
    }
    assert (whole["isolated"], whole["commits"], whole["files"]) == (isolated, 2, 2 if isolated else 4)
    assert (whole["crashes"], whole["traps"]) == ([], [])
    assert "GRD101" in whole["rules"] and "GRD002" not in whole["rules"]
    assert json.loads(json.dumps(whole)) == whole


def test_what_the_fix_leaves_is_not_silenced(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    left = "# moved down\n\n" + BAD.replace("        loss.backward()", "        x = x + 1\n        loss.backward()")
    outcome = only(tmp_path, bug(after=left))
    assert (outcome["status"], outcome["silenced"], lines(outcome, "left")) == ("hit", False, [("GRD101", 11)])


def test_another_function_does_not_speak_for_the_fixed_one(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    twin = BAD.replace("import torch", "").replace("Trainer", "Other")
    outcome = only(tmp_path, bug(BAD + twin, twin.replace("\n", "\nimport torch", 1) + GOOD[len("import torch") :]))
    assert (lines(outcome, "hits"), outcome["silenced"]) == ([("GRD101", 8)], True)
    assert [code for code, _ in lines(outcome, "elsewhere")] == ["GRD101"]


@pytest.mark.parametrize("silenced", [True, False])
def test_a_function_that_was_renamed_is_found_by_its_lines(
    tmp_path: Path, bug: Callable[..., Bug], silenced: bool
) -> None:
    after = (GOOD if silenced else BAD).replace("def step", "def training_step")
    assert only(tmp_path, bug(after=after))["silenced"] is silenced


def test_a_function_that_went_to_another_class_is_found_by_its_name(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    after = (
        "import torch\n\n\nclass Loop:\n    pass\n" + "\n" * 30 + BAD[len("import torch") :].replace("Trainer", "New")
    )
    assert lines(only(tmp_path, bug(after=after)), "left") == [("GRD101", 43)]


def test_a_fix_that_is_meant_to_leave_it_is_not_asked(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    assert only(tmp_path, bug(after=BAD, silenced=False))["silenced"] is None


def test_a_bug_that_nobody_fixed_can_be_hit(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    outcome = only(tmp_path, bug(fix_commit=None))
    assert (outcome["status"], outcome["silenced"], outcome["why"]) == ("hit", None, "")


@pytest.mark.parametrize(
    ("changes", "status", "others", "elsewhere"),
    [
        ({"codes": ["GRD102", "GRD501"]}, "missed", [("GRD101", 8)], []),
        ({"codes": ["GRD102", "GRD101"]}, "hit", [], []),
        ({"function_end": 7}, "missed", [], [("GRD101", 8)]),
        ({"function_start": 1, "function_end": 2, "function": "main", "also": [[8, 8]]}, "hit", [], []),
        ({"function_start": 1, "function_end": 2, "function": None, "also": [[3, 5], [6, 7]]}, "missed", [], None),
    ],
)
def test_a_report_counts_with_an_accepted_code_in_the_given_lines(
    tmp_path: Path, bug: Callable[..., Bug], changes: dict[str, Any], status: str, others: list[Any], elsewhere: Any
) -> None:
    outcome = only(tmp_path, bug(**changes))
    assert outcome["status"] == status
    assert lines(outcome, "others") == others
    assert lines(outcome, "elsewhere") == ([("GRD101", 8)] if elsewhere is None else elsewhere)


def test_a_report_in_other_lines_is_silenced_there(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    main = "\n\ndef main():\n    return 1\n"
    changes = {"function": "main", "function_start": 11, "function_end": 12}
    assert only(tmp_path, bug(BAD + main, GOOD + main, **changes, also=[[5, 8]]))["silenced"] is True
    assert only(tmp_path, bug(BAD + main, BAD + main + "\n", **changes, also=[[8, 8]]))["silenced"] is False


def test_a_file_that_does_not_parse_is_no_obstacle(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    outcome = only(tmp_path, bug("print 'Python 2'\n" * 9))
    assert (outcome["status"], outcome["why"]) == ("missed", "")


@pytest.mark.parametrize("isolated", [True, False])
def test_a_file_is_linted_whatever_folder_it_lies_in(tmp_path: Path, bug: Callable[..., Bug], isolated: bool) -> None:
    assert only(tmp_path, bug(file="build/venv/a.py"), isolated=isolated)["status"] == "hit"


def test_neither_settings_nor_patterns_of_a_repository_count(
    tmp_path: Path, bug: Callable[..., Bug], commit: Commit
) -> None:
    settings = {"pyproject.toml": '[tool.gradlint]\nignore = ["GRD101"]\n', ".gitignore": "*.py\n"}
    commit(tmp_path / "mirrors" / "o" / "n", settings)
    (tmp_path / ".gitignore").write_text("/cache/\n*.py\n", encoding="utf-8")
    assert only(tmp_path, bug())["status"] == "hit"


def test_certainty_is_a_choice(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    text = "def test(model, loader):\n    model.eval()\n    return [model(x).max() for x in loader]\n"
    made = bug("import torch\n" + text, codes=["GRD102", "GRD402"], function="test", function_start=2, function_end=4)
    assert only(tmp_path, made)["status"] == "hit"
    assert only(tmp_path, made, certainty=Certainty.CERTAIN)["status"] == "missed"


# -- what is not there -------------------------------------------------------------------------------------


def test_what_is_missing_is_no_miss(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    made = bug()
    absent = {
        "repo": ("o/other", "no mirror of o/other"),
        "parent_commit": ("1" * 40, f"o/n: no commit {'1' * 40}"),
        "file": ("b.py", f"no b.py in {made.parent[:10]}"),
    }
    for key, (value, why) in absent.items():
        row = {**ROW, "parent_commit": made.parent, "fix_commit": made.fix, key: value}
        outcome = only(tmp_path, bugs.bug_of(row))
        assert (outcome["status"], outcome["why"]) == ("not had", why)


def test_a_fix_that_is_missing_silences_nothing(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    outcome = only(tmp_path, bug(fix_commit="2" * 40))
    assert (outcome["status"], outcome["silenced"]) == ("hit", None)
    assert outcome["why"] == f"the fix was not seen: o/n: no commit {'2' * 40}"


def test_bugs_without_a_rule_are_left_out_or_missed(tmp_path: Path, bug: Callable[..., Bug]) -> None:
    made = bug(codes=["GRD999"])
    whole = measured(tmp_path, made)
    assert (whole["bugs"][0]["status"], whole["commits"]) == ("left out", 0)
    assert only(tmp_path, made, every_code=True)["status"] == "missed"


def test_a_commit_is_linted_once(tmp_path: Path, bug: Callable[..., Bug], commit: Commit) -> None:
    folder = tmp_path / "mirrors" / "o" / "n"
    first = commit(folder, {"pkg/a.py": BAD, "pkg/b.py": BAD})
    second = commit(folder, {"pkg/a.py": GOOD})
    third = commit(folder, {"pkg/b.py": GOOD})
    rows = [("n-1", "pkg/a.py", first, second), ("n-2", "pkg/b.py", second, third)]
    found = [
        bugs.bug_of({**ROW, "id": name, "file": file, "parent_commit": parent, "fix_commit": fix})
        for name, file, parent, fix in rows
    ]
    said: list[str] = []
    whole = recall.measure(found, found, tmp_path / "mirrors", Bench(tmp_path / "cache"), say=said.append)
    assert [each["silenced"] for each in whole["bugs"]] == [True, True]
    # The second commit is the fix of one and the parent of the other: it is linted again for the other file.
    assert (whole["commits"], len(said)) == (3, 4)
    kept = sorted(path.name for path in (tmp_path / "cache" / "trees" / "o+n").iterdir())
    assert kept == sorted([first, second, third])


def test_internal_errors_are_told(tmp_path: Path, bug: Callable[..., Bug], monkeypatch: pytest.MonkeyPatch) -> None:
    made = bug()
    monkeypatch.setattr(trees, "INTERNAL_ERROR", "GRD000")
    said = [words.partition(" not valid")[0] for words in measured(tmp_path, made)["crashes"]]
    assert said == [f"o/n {commit[:10]} old.py:1" for commit in sorted([made.parent, made.fix])]


# -- where code stands -------------------------------------------------------------------------------------

PROPERTY = """class A:
    @property
    def size(self):
        return 1

    @size.setter
    def size(self, value):
        self.value = value
"""


def place(text: str, function: str, *spans: tuple[int, int]) -> Bug:
    first, *also = spans
    row = {**ROW, "function": function, "function_start": first[0], "function_end": first[1], "also": also}
    return bugs.bug_of({**row, "parent_commit": "1", "fix_commit": "2"})


def test_decorators_belong_to_the_function() -> None:
    source = PROPERTY.encode()
    assert bugs.places(place(PROPERTY, "size", (7, 8), (3, 4)), source) == [(6, 8), (3, 4)]
    assert bugs.places(place(PROPERTY, "size", (8, 8)), source) == [(8, 8)]
    assert bugs.places(place(PROPERTY, "", (7, 8)), source) == [(7, 8)]
    assert bugs.places(place(PROPERTY, "size", (7, 8)), b"print 'Python 2'") == [(7, 8)]


def test_of_two_functions_of_one_name_the_same_one_is_meant() -> None:
    moved = ("# a comment\n" + PROPERTY).encode()
    setter = place(PROPERTY, "size", (7, 8), (2, 4), (3, 3))
    assert [bugs.counterparts(setter, number, PROPERTY.encode(), moved) for number in range(3)] == [
        [(7, 9)],
        [(3, 5)],
        [(4, 4)],
    ]
    alone = PROPERTY.partition("    @size.setter")[0].encode()
    assert bugs.counterparts(setter, 0, PROPERTY.encode(), alone) == [(2, 4)]


@pytest.mark.parametrize(
    ("after", "span", "mapped"),
    [
        ("abcdef", (2, 3), (2, 3)),
        ("xabcdef", (2, 3), (3, 4)),
        ("abxcdef", (2, 3), (2, 4)),
        ("abcxdef", (2, 3), (2, 3)),
        ("axcdef", (2, 3), (2, 3)),
        ("axyzdef", (2, 3), (2, 4)),
        ("adef", (2, 3), None),
        ("abcde", (6, 9), None),
        ("abcdef", (6, 9), (6, 6)),
    ],
)
def test_lines_are_mapped_by_a_diff(after: str, span: tuple[int, int], mapped: tuple[int, int] | None) -> None:
    assert bugs.mapped_lines(list("abcdef"), list(after), span) == mapped


# -- the data and the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"function_start": 0},
        {"function_end": 4},
        {"also": [[3]]},
        {"also": [["1", "2"]]},
        {"needs": "luck"},
        {"id": "n-1"},
        {"repo": None, "codes": None},
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    rows = [{**ROW, "parent_commit": "1"}, {**ROW, "parent_commit": "1", "id": "n-2", **change}]
    (tmp_path / "bugs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(BugError, match=r"bugs\.jsonl:2: "):
        bugs.load(tmp_path / "bugs.jsonl")


def written(path: Path, *found: Bug) -> str:
    rows = []
    for each in found:
        spans = {"function_start": each.spans[0][0], "function_end": each.spans[0][1], "also": each.spans[1:]}
        commits = {"parent_commit": each.parent, "fix_commit": each.fix}
        rows.append({**ROW, **commits, **spans, "id": each.id, "codes": each.codes, "repo": each.repository})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_command_reports_everything(
    tmp_path: Path, bug: Callable[..., Bug], capsys: pytest.CaptureFixture[str]
) -> None:
    hit = bug()
    rows = [hit, bug(id="n-2", codes=["GRD102"]), bug(id="n-3", codes=["GRD999"]), bug(id="n-4", after=BAD + "\n")]
    rows.append(bug(id="n-5", repo="o/other"))
    arguments = ["--bugs", written(tmp_path / "dev.jsonl", *rows), "--mirrors", str(tmp_path / "mirrors")]
    arguments += ["--traps", written(tmp_path / "traps.jsonl", bug(id="t-1"), bug(id="t-2", codes=["GRD501"]))]
    arguments += ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "out.json"), "--isolated"]
    assert recall.main(arguments) == 0
    shown = capsys.readouterr()
    message = "`backward` has no graph to go through: `loss` was computed with gradients off"
    where = "o/n pkg/a.py:5 step"
    first, second, third, rest = shown.out.split("\n", 3)
    assert first == "3 of 5 bugs measured; 1 left out: no rule for their codes; 1 not had"
    assert second == "1 of 2 traps reported"
    assert third.startswith("7 commits, 7 files, linted each file alone in ")
    assert (
        rest
        == f"""
                                 bugs  hit     %  of which to silence  silenced    %  of all bugs
needs function or class or file     3    2   67%                    2         1  50%  33%
  needs function                    3    2   67%                    2         1  50%  33%
category A                          3    2   67%                    2         1  50%  33%
GRD101                              2    2  100%                    2         1  50%  50%
GRD102                              1    0    0%                    0         0    -  0%
all                                 3    2   67%                    2         1  50%  33%

missed: 1
  n-2  needs function  GRD102  backward-in-no-grad
    {where}
    the loss has no graph
    there: GRD101 at 8

not silenced by the fix: 1
  n-4  {where}  before: GRD101 at 8; after: GRD101 at 8

traps reported: 1
  t-1  GRD101  backward-in-no-grad
    {where}
    the loss has no graph
    reported: GRD101 at 8: {message}

traps reported for something else: 1
  t-2  GRD501  backward-in-no-grad
    {where}
    the loss has no graph
    reported: GRD101 at 8: {message}

not had: 1
  n-5: no mirror of o/other
"""
    )
    saved = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report(saved) + "\n" == shown.out
    assert len(shown.err.splitlines()) == 8


def test_the_command_takes_what_is_named(
    tmp_path: Path, bug: Callable[..., Bug], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "dev.jsonl", bug(), bug(id="n-2"), bug(id="n-3"))
    arguments = ["--bugs", path, "--mirrors", str(tmp_path / "mirrors"), "--cache", str(tmp_path / "cache")]
    assert recall.main([*arguments, "--only", "n-1", "n-3"]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 bugs measured\n4 commits, 8 files, linted with the rest of its")
    assert recall.main([*arguments, "--only", "n-1", "n-9", "n-8"]) == 2
    assert capsys.readouterr().err == "nothing is called n-8, n-9\n"


def test_input_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = written(tmp_path / "dev.jsonl")
    assert recall.main(["--bugs", str(tmp_path / "none.jsonl"), "--mirrors", str(tmp_path)]) == 2
    assert recall.main(["--bugs", empty, "--mirrors", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.endswith(f"{tmp_path / 'none'} is no folder\n")
    assert recall.main(["--bugs", empty, "--mirrors", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 of 0 bugs measured\n0 commits, 0 files")


def test_an_internal_error_fails_the_command(
    tmp_path: Path, bug: Callable[..., Bug], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "dev.jsonl", bug())
    monkeypatch.setattr(trees, "INTERNAL_ERROR", "GRD000")
    arguments = ["--bugs", path, "--mirrors", str(tmp_path / "mirrors"), "--cache", str(tmp_path / "cache")]
    assert recall.main(arguments) == 1
    assert "internal errors: 2\n  o/n " in capsys.readouterr().out
