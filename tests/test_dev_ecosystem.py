"""Git mirrors read without a work tree, two versions of gradlint side by side, and what differs between them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gradlint import check_paths
from gradlint.dev import ecosystem, mirrors, revisions
from gradlint.dev.__main__ import main
from gradlint.dev.deltas import Compared, deltas, markdown
from gradlint.dev.mirrors import Mirror, MirrorError
from gradlint.dev.revisions import Answer, RevisionError, Side

ROOT = Path(__file__).resolve().parent.parent
Commit = Callable[[Path, Mapping[str, str | None]], str]

# A gradlint of a few lines: it reports every line with the word that its rule names.
FAKE = """import json, os, sys
from gradlint.rules import CODE, MESSAGE, WORD
folder, findings, files = sys.argv[-1], [], 0
for base, folders, names in os.walk(folder):
    folders[:] = sorted(set(folders) - {".git"})
    for name in sorted(names):
        files += 1
        path = os.path.join(base, name)
        for number, line in enumerate(open(path), 1):
            if WORD in line:
                findings.append(dict(code=CODE, path=path, line=number, column=1, certainty="certain",
                                     message=MESSAGE, evidence=[dict(path=path, line=1, text="here")], fixes=[]))
print(json.dumps(dict(findings=findings, summary=dict(files=files))))
raise SystemExit(bool(findings))
"""


def fake(code: str, message: str, word: str, script: str = FAKE) -> dict[str, str | None]:
    """The files of a gradlint that reports ``message`` at lines with ``word``."""
    rules = f"CODE, MESSAGE, WORD = {(code, message, word)!r}\n"
    return {"gradlint/__init__.py": "", "gradlint/__main__.py": script, "rules/__init__.py": rules}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ecosystem", *arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Commit) -> Path:
    """A checkout of a gradlint that was committed, and a folder `mirrors` beside it."""
    root = tmp_path / "checkout"
    commit(root, {**fake("GRD101", "an old word", "old"), "README.md": "old\n"})
    monkeypatch.setattr("gradlint.dev.__main__.checkout", lambda: root)
    commit(tmp_path / "mirrors" / "some" / "one", {"a.py": "x = 1\nold = 2\n", "b.py": "new = 1\n", "c.txt": "old\n"})
    return root


# -- mirrors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["o/n", "o/n.git", "o+n", "o+n.git", "o__n", "n", "n.git", "o+n/repo", "o/n/repo"])
@pytest.mark.parametrize("bare", [True, False])
def test_a_mirror_is_found_in_every_layout(tmp_path: Path, commit: Commit, layout: str, bare: bool) -> None:
    source = tmp_path / "source"
    made = commit(source, {"a.py": "x = 1\n"})
    place = tmp_path / "all" / layout
    shutil.copytree(source / ".git" if bare else source, place)
    (tmp_path / "all" / "README.md").touch()
    found = mirrors.find(tmp_path / "all", "o/n")
    assert found == Mirror("o/n", place if bare else place / ".git")
    assert (found.commit(), found.read(made, "a.py")) == (made, b"x = 1\n")
    assert mirrors.find(tmp_path / "all", "o/other") is None
    (only,) = mirrors.listed(tmp_path / "all")
    assert only == Mirror("n" if layout.startswith("n") else "o/n", found.git)


def test_a_work_tree_of_a_clone_is_a_mirror(tmp_path: Path, commit: Commit) -> None:
    made = commit(tmp_path / "clone", {"a.py": "x = 1\n"})
    place = tmp_path / "all" / "n"
    subprocess.run(
        ["git", "-C", str(tmp_path / "clone"), "worktree", "add", "-q", "--detach", str(place)], check=True, timeout=60
    )
    found = mirrors.find(tmp_path / "all", "o/n")
    assert found is not None and found.commit() == made


def test_the_wanted_files_of_a_commit_are_written(tmp_path: Path, commit: Commit) -> None:
    source = tmp_path / "source"
    old = {"pkg/a.py": "# ä\r\nold\n", "pkg/b.txt": "", "gone.py": "", "odd name\n.py": "odd\n", ".gitattributes": ""}
    before = commit(source, {**old, "pkg/ignored.py": "x\n", ".gitattributes": "pkg/ignored.py export-ignore\n"})
    (source / "link.py").symlink_to("gone.py")
    after = commit(source, {"gone.py": None, "pkg/a.py": "new\n"})
    mirror = Mirror("o/n", source / ".git")
    mirror.check_out(before, tmp_path / "out" / "before", mirrors.is_python)
    mirror.check_out(after, tmp_path / "out" / "after", mirrors.is_python)
    assert contents(tmp_path / "out" / "before") == {
        "gone.py": b"",
        "odd name\n.py": b"odd\n",
        "pkg/a.py": "# ä\r\nold\n".encode(),
        "pkg/ignored.py": b"x\n",
    }
    assert contents(tmp_path / "out" / "after") == {
        "odd name\n.py": b"odd\n",
        "pkg/a.py": b"new\n",
        "pkg/ignored.py": b"x\n",
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["after", "before"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_object_that_is_not_there_is_left_out(tmp_path: Path, commit: Commit) -> None:
    made = commit(tmp_path / "source", {"a.py": "x = 1\n", "b.py": "y = 2\n", "c.py": "z = 3\n"})
    mirror = Mirror("o/n", tmp_path / "source" / ".git")
    command = ["git", f"--git-dir={mirror.git}", "rev-parse", f"{made}:b.py"]
    blob = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout.strip()
    (mirror.git / "objects" / blob[:2] / blob[2:]).unlink()
    mirror.check_out(made, tmp_path / "out", mirrors.is_python)
    assert contents(tmp_path / "out") == {"a.py": b"x = 1\n", "c.py": b"z = 3\n"}
    with pytest.raises(MirrorError, match=f"o/n: no file b.py in {made}"):
        mirror.read(made, "b.py")


def test_what_is_not_there_is_said(tmp_path: Path, commit: Commit) -> None:
    commit(tmp_path / "source", {"a.py": "x = 1\n"})
    mirror = Mirror("o/n", tmp_path / "source" / ".git")
    with pytest.raises(MirrorError, match="o/n: no commit nowhere"):
        mirror.commit("nowhere")
    with pytest.raises(MirrorError, match="o/n: no commit 1234"):
        mirror.check_out("1234", tmp_path / "out", mirrors.is_python)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["../a.py", "/a.py", "b/../../a.py", ""])
def test_a_path_that_could_leave_the_folder_is_refused(
    tmp_path: Path, commit: Commit, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    made = commit(tmp_path / "source", {"a.py": "x = 1\n"})
    mirror = Mirror("o/n", tmp_path / "source" / ".git")
    monkeypatch.setattr(Mirror, "_run", lambda self, *arguments: f"100644 blob {'1' * 40}\t{path}\0".encode())
    with pytest.raises(MirrorError, match="o/n: unsafe path"):
        mirror.check_out(made, tmp_path / "out", mirrors.is_python)


# -- sides -------------------------------------------------------------------------------------------------


def test_the_copy_of_the_working_tree_finds_what_the_library_finds(tmp_path: Path) -> None:
    side = revisions.working_tree(ROOT, tmp_path)
    demo = ROOT / "fixtures" / "demo"
    answer = side.lint(demo, demo.parent, 1, 60.0)
    expected = check_paths([demo])
    assert (answer.crash, answer.errors, answer.files) == ("", [], expected.files)
    assert [(each["path"], each["line"], each["code"], each["message"]) for each in answer.findings] == [
        (Path(each.path).resolve().relative_to(demo.parent).as_posix(), each.location.line, each.code, each.message)
        for each in expected.findings
    ]
    assert all(step["path"].startswith("demo/") for each in answer.findings for step in each["evidence"])
    assert answer.findings


def test_each_side_has_its_own_code_and_its_own_rules(project: Path, tmp_path: Path, commit: Commit) -> None:
    commit(project, fake("GRD102", "a new word", "new"))
    base = revisions.at_revision(project, "HEAD~1", tmp_path / "scratch")
    now = revisions.working_tree(project, tmp_path / "scratch")
    linted = tmp_path / "mirrors" / "some" / "one"
    answers = [side.lint(linted, linted, 1, 60.0) for side in (base, now)]
    assert [[(each["code"], each["path"], each["line"]) for each in answer.findings] for answer in answers] == [
        [("GRD101", "a.py", 2), ("GRD101", "c.txt", 1)],
        [("GRD102", "b.py", 1)],
    ]


def test_a_copy_that_is_not_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gradlint").mkdir()
    with pytest.raises(RevisionError, match="empty does not run from"):
        Side("empty", tmp_path).check()


@pytest.mark.parametrize(
    ("script", "crash"),
    [
        ("raise SystemExit(139)", "exit status 139"),
        ("print('{}')", "no usable JSON"),
        ("raise ValueError('boom')", "no usable JSON"),
        ("import sys; sys.stderr.write('killed'); sys.exit(7)", "exit status 7: killed"),
        ("import time; time.sleep(60)", "no answer after 1 s"),
    ],
)
def test_a_crash_is_an_answer(tmp_path: Path, script: str, crash: str) -> None:
    for name, text in fake("GRD101", "m", "w", script).items():
        path = tmp_path / str(name).replace("rules/", "gradlint/rules/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text), encoding="utf-8")
    answer = Side("fake", tmp_path).lint(tmp_path, tmp_path, 1, 1.0)
    assert answer.crash.startswith(crash)
    assert (answer.findings, answer.errors) == ((), [answer.crash])


def test_a_revision_without_gradlint_is_an_error(project: Path, tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="no commit v9"):
        revisions.at_revision(project, "v9", tmp_path / "a")
    with pytest.raises(RevisionError, match="there is no gradlint in HEAD"):
        revisions.at_revision(tmp_path / "mirrors" / "some" / "one", "HEAD", tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(RevisionError, match="is no git repository"):
        revisions.at_revision(tmp_path / "c", "HEAD", tmp_path / "d")


# -- differences -------------------------------------------------------------------------------------------


def finding(line: int, code: str = "GRD101", **changes: Any) -> dict[str, Any]:
    made = {"code": code, "path": "a.py", "line": line, "column": 5, "certainty": "likely", "message": "m"}
    return {**made, "evidence": [], "fixes": [], **changes}


def compared(folder: Path, before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Compared:
    (folder / "a.py").write_text("first = 1\n  second\t= 2\n", encoding="utf-8")
    return Compared("tree", folder, Answer(tuple(before), 1, 1.0), Answer(tuple(now), 1, 2.0))


def test_findings_are_added_removed_and_changed(tmp_path: Path) -> None:
    step = {"path": "b.py", "line": 7, "column": 1, "text": "gradients off here"}
    before = [finding(1), finding(2, message="old"), finding(2, "GRD102"), finding(1, "GRD103"), finding(1, "GRD103")]
    now = [finding(1, "GRD103"), finding(2, "GRD102"), finding(2, message="new", evidence=[step]), finding(1, "GRD104")]
    found = deltas([compared(tmp_path, before, now)])
    assert [(each.finding["code"], each.kind, each.finding["line"], each.changed) for each in found] == [
        ("GRD101", "removed", 1, []),
        ("GRD101", "changed", 2, ["message", "evidence"]),
        ("GRD103", "removed", 1, []),
        ("GRD104", "added", 1, []),
    ]
    assert deltas([compared(tmp_path, before, before[::-1])]) == []


def test_the_report_is_markdown(tmp_path: Path) -> None:
    step = {"path": "b.py", "line": 7, "column": 1, "text": "gradients off here"}
    fix = {"title": "detach it", "edits": [{"text": ".detach()"}]}
    before = [finding(2, message="old"), finding(1, "GRD103")]
    now = [finding(2, message="new\x1b", evidence=[step], fixes=[fix]), finding(2, "GRD104", evidence=[step])]
    broken = Compared("broken", tmp_path, Answer((), 0, 0.5, "exit status 3: ..."), Answer((finding(9),), 1, 0.5))
    assert (
        markdown(("base", "now"), [compared(tmp_path, before, now), broken])
        == """\
# gradlint: base → now

| tree | files | findings before | now | seconds before | now | crashes before | now |
|---|---|---|---|---|---|---|---|
| tree | 1 | 2 | 2 | 1.0 | 2.0 | 0 | 0 |
| broken | 1 | 0 | 1 | 0.5 | 0.5 | 1 | 0 |
| all | 2 | 2 | 3 | 1.5 | 2.5 | 1 | 0 |

| rule | before | now | added | removed | changed |
|---|---|---|---|---|---|
| GRD101 | 1 | 1 | 0 | 0 | 1 |
| GRD103 | 1 | 0 | 0 | 1 | 0 |
| GRD104 | 0 | 1 | 1 | 0 | 0 |

## Crashes

- broken, base: exit status 3: ...

## GRD101 changed: 1

- tree `a.py:2:5` (likely) new\\x1b

      second\\t= 2

  - message was: old
  - message is: new\\x1b
  - evidence was: none
  - evidence is: `b.py:7` gradients off here
  - fixes was: none
  - fixes is: detach it ['.detach()']

## GRD103 removed: 1

- tree `a.py:1:5` (likely) m

      first = 1

## GRD104 added: 1

- tree `a.py:2:5` (likely) m

      second\\t= 2

  - `b.py:7` gradients off here
"""
    )


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_compares_the_working_tree_with_a_revision(project: Path, tmp_path: Path) -> None:
    (project / "rules" / "__init__.py").write_text("CODE, MESSAGE, WORD = 'GRD102', 'a new word', 'new'\n")
    done = run("--base", "HEAD", "--mirrors", str(tmp_path / "mirrors"))
    assert (done.exit_code, done.stderr[:14]) == (0, "[1/1] some/one")
    head = done.stdout.splitlines()
    assert head[0].startswith("# gradlint: HEAD (") and head[0].endswith(") → working tree")
    # Of the repository only Python files are linted: `old` in c.txt is not seen.
    assert (
        done.stdout[done.stdout.index("| rule") :]
        == """\
| rule | before | now | added | removed | changed |
|---|---|---|---|---|---|
| GRD101 | 1 | 0 | 0 | 1 | 0 |
| GRD102 | 0 | 1 | 1 | 0 | 0 |

## GRD101 removed: 1

- some/one {commit} `a.py:2:1` (certain) an old word

      old = 2

  - `a.py:1` here

## GRD102 added: 1

- some/one {commit} `b.py:1:1` (certain) a new word

      new = 1

  - `b.py:1` here
""".replace("{commit}", Mirror("", tmp_path / "mirrors/some/one/.git").commit()[:10])
    )


@pytest.mark.parametrize("script", ["raise SystemExit(9)", FAKE.replace("code=CODE", "code='GRD002'")])
def test_only_a_crash_of_the_working_tree_fails(project: Path, tmp_path: Path, commit: Commit, script: str) -> None:
    broken = fake("GRD101", "m", "old", script)
    (project / "gradlint" / "__main__.py").write_text(str(broken["gradlint/__main__.py"]), encoding="utf-8")
    arguments = ("--base", "HEAD", "--mirrors", str(tmp_path / "mirrors"))
    assert run(*arguments).exit_code == 1
    commit(project, fake("GRD101", "m", "old", script))
    (project / "gradlint" / "__main__.py").write_text(FAKE, encoding="utf-8")
    done = run(*arguments)
    assert done.exit_code == 0
    assert "## Crashes\n\n- some/one" in done.stdout


def test_packages_and_mirrors_are_linted_in_order(project: Path, tmp_path: Path, commit: Commit) -> None:
    for name in ("b/two", "a/one", "c/three"):
        commit(tmp_path / "mirrors" / name, {"x.py": "old\n"})
    wheel = tmp_path / "unpacked here" / "timm"
    wheel.mkdir(parents=True)
    (wheel / "y.py").write_text("old\n", encoding="utf-8")
    (project / "benchmarks").mkdir()
    asked = ["--fetch-only", "--only", "timm"]
    script = f"import sys\nprint('timm', '1.0', {str(wheel)!r})\nassert sys.argv[1:] == {asked}\n"
    (project / "benchmarks" / "packages.py").write_text(script, encoding="utf-8")
    done = run("--base", "HEAD", "--only", "timm", "--mirrors", str(tmp_path / "mirrors"), "--repos", "2")
    assert done.exit_code == 0, done.stderr
    trees = [line.split(" | ")[0][2:] for line in done.stdout.splitlines()[4:8]]
    assert [tree.rpartition(" ")[0] for tree in trees] == ["timm", "a/one", "b/two", ""]


def test_what_cannot_be_compared_is_said(project: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    unknown = run("--base", "v9", "--mirrors", str(tmp_path / "mirrors"))
    assert (unknown.exit_code, unknown.output) == (2, "checkout: no commit v9\n")
    empty = run("--base", "HEAD", "--mirrors", str(tmp_path / "none"))
    assert (empty.exit_code, empty.output) == (2, f"{tmp_path / 'none'}: there are no git repositories\n")
    (project / "benchmarks").mkdir()
    (project / "benchmarks" / "packages.py").write_text("raise SystemExit('timm: SHA-256 is wrong')\n")
    missing = run("--base", "HEAD", "--packages")
    assert (missing.exit_code, missing.output) == (2, "timm: SHA-256 is wrong\n")


def test_a_repository_without_a_commit_is_left_out(tmp_path: Path, commit: Commit) -> None:
    made = commit(tmp_path / "all" / "good", {"a.py": ""})
    subprocess.run(["git", "init", "-q", str(tmp_path / "all" / "empty")], check=True, timeout=60)
    said: list[str] = []
    trees = ecosystem.repositories(tmp_path / "all", None, tmp_path / "out", said.append)
    assert [(tree.name, tree.folder) for tree in trees] == [(f"good {made[:10]}", tmp_path / "out" / "good")]
    assert said == ["left out: empty: no commit HEAD"]
