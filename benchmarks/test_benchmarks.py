"""The benchmarks' own tests: unpacking, verdicts, reading reports, bounds. They need no network and no gradlint."""

from __future__ import annotations

import json
import stat
import sys
import zipfile
from pathlib import Path

import corpus
import judge
import packages
import pytest
import speed
import verdicts
from clock import Cost, Costs, measure
from corpus import CorpusError, Package
from linting import Found, Lint, Site, lint
from verdicts import Verdict, VerdictError

SITE = Site("timm", "1.0", "timm/a.py", 3, "GRD101")
ROW = {**SITE.__dict__, "verdict": "true", "why": "the loss has no graph"}


def wheel(path: Path, *names: str, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            if link:
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, "x = 1\n")
    return path


def fake(tmp_path: Path, body: str) -> list[str]:
    script = tmp_path / "fake.py"
    script.write_text(body, encoding="utf-8")
    return [sys.executable, str(script)]


def test_every_pin_has_a_hash_and_a_file_of_its_version() -> None:
    for package in corpus.pinned():
        assert len(package.sha256) == 64
        assert package.file.startswith(f"{package.name}-{package.version}-")


def test_a_name_that_is_not_pinned_is_an_error() -> None:
    with pytest.raises(CorpusError, match="not pinned: numpy"):
        corpus.pinned(["timm", "numpy"])


def test_unpacking_gives_the_files(tmp_path: Path) -> None:
    corpus.unpack(wheel(tmp_path / "w.whl", "timm/a.py", "timm/b/c.py"), tmp_path / "timm-1")
    assert (tmp_path / "timm-1/timm/b/c.py").read_text(encoding="utf-8") == "x = 1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["timm-1", "w.whl"]


@pytest.mark.parametrize("name", ["../a.py", "/a.py", "timm/../../a.py", "timm\\..\\a.py", "c:a.py"])
def test_a_member_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match="unsafe name"):
        corpus.check_members("w.whl", [zipfile.ZipInfo("timm/a.py"), unchanged(name)])


def unchanged(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("x")
    member.filename = name  # the constructor would turn the system's separator into a slash
    return member


def test_links_and_bombs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not a plain file"):
        corpus.unpack(wheel(tmp_path / "w.whl", "timm/a.py", link=True), tmp_path / "out")
    huge = zipfile.ZipInfo("timm/a.py")
    huge.file_size = corpus.MAX_UNPACKED_BYTES + 1
    with pytest.raises(CorpusError, match="bytes unpacked"):
        corpus.check_members("w.whl", [huge])
    assert not (tmp_path / "out").exists()


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    wheel(tmp_path / "downloads/w.whl", "timm/a.py")
    with pytest.raises(CorpusError, match="SHA-256"):
        corpus.provide(Package("timm", "1", "w.whl", "0" * 64, "timm"), tmp_path)
    assert not (tmp_path / "timm-1").exists()


def test_a_report_becomes_findings_relative_to_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "timm"
    folder.mkdir()
    step = {"path": str(folder / "a.py"), "line": 2, "text": "gradients off here"}
    finding = {"code": "GRD101", "line": 3, "path": str(folder / "a.py"), "message": "m", "certainty": "likely"}
    report = json.dumps({"findings": [{**finding, "evidence": [step]}], "summary": {"files": 7}})
    done = lint(fake(tmp_path, f"print({report!r}); raise SystemExit(1)"), folder, tmp_path, "timm", "1.0")
    assert done.found == (Found(SITE, "m", "likely", (("timm/a.py", 2, "gradients off here"),)),)
    assert (done.files, done.exit_code, done.crash) == (7, 1, "")


@pytest.mark.parametrize(
    ("body", "crash"),
    [
        ("raise SystemExit(139)", "exit status 139"),
        ("print('{}')", "no usable JSON"),
        ("raise ValueError('boom')", "boom"),
        ("import time; time.sleep(60)", "no answer"),
    ],
)
def test_crashes_are_reported(tmp_path: Path, body: str, crash: str) -> None:
    done = lint(fake(tmp_path, body), tmp_path, tmp_path, "timm", "1.0", timeout=2.0)
    assert crash in done.crash
    tree = corpus.Tree(Package("timm", "1.0", "f", "h", "timm"), tmp_path, tmp_path)
    assert packages.Measured(tree, 1, 1, done).failures


def test_files_left_out_fail_the_run(tmp_path: Path) -> None:
    tree = corpus.Tree(Package("timm", "1.0", "f", "h", "timm"), tmp_path, tmp_path)
    assert packages.Measured(tree, 5, 1, Lint((), 4, 1.0, 0, "")).failures == ["timm: 4 of 5 files were linted"]
    assert not packages.Measured(tree, 5, 1, Lint((), 5, 1.0, 0, "")).failures


def test_an_internal_error_fails_the_run(tmp_path: Path) -> None:
    tree = corpus.Tree(Package("timm", "1.0", "f", "h", "timm"), tmp_path, tmp_path)
    found = Found(Site("timm", "1.0", "timm/a.py", 1, "GRD002"), "boom", "certain", ())
    outcome = Lint((found,), 1, 1.0, 1, "")
    assert packages.Measured(tree, 1, 1, outcome).failures == ["timm 1.0 timm/a.py:1 GRD002 boom"]


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"line": 0},
        {"line": True},
        {"code": "GRD002"},
        {"path": "../a.py"},
        {"why": " "},
        {"x": 1},
    ],
)
def test_a_wrong_verdict_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(VerdictError, match="input:2: "):
        verdicts.read("\n" + json.dumps({**ROW, **change}), "input")


def test_precision_counts_clear_verdicts_on_places_that_are_still_found(tmp_path: Path) -> None:
    places = [Site("timm", "1.0", "timm/a.py", line, "GRD101") for line in range(1, 7)]
    said = dict(zip(places, ["true", "true", "true", "false", "unsure"], strict=False))
    verdicts.save({site: Verdict(site, word, "because") for site, word in said.items()}, tmp_path / "judged.jsonl")
    judged = verdicts.load(tmp_path / "judged.jsonl")
    tally = verdicts.tally(places[1:], judged)["GRD101"]
    assert (tally.true, tally.false, tally.unsure, tally.unjudged, tally.sites) == (2, 1, 1, 1, 5)
    assert tally.precision == pytest.approx(2 / 3)
    timm = Package("timm", "1.0", "f", "h", "timm")
    assert [verdict.site for verdict in verdicts.gone(places[1:], judged, [timm])] == places[:1]
    assert verdicts.gone([], judged, [Package("timm", "2.0", "f", "h", "timm")]) == []


def test_a_place_is_judged_once(tmp_path: Path) -> None:
    row = Verdict(SITE, "true", "because").line()
    (tmp_path / "judged.jsonl").write_text(f"{row}\n{row}\n", encoding="utf-8")
    with pytest.raises(VerdictError, match="judged twice"):
        verdicts.load(tmp_path / "judged.jsonl")


def test_a_finding_is_shown_with_its_function_and_evidence() -> None:
    lines = ["class A:", "    @torch.no_grad()", "    def f(", "        self,", "    ):", "        a = 1"]
    lines = [*lines, *["        pass"] * 40, "        loss.backward()  # \x1b[2J"]
    found = Found(
        Site("timm", "1.0", "timm/a.py", 47, "GRD101"),
        "m",
        "likely",
        (("timm/a.py", 6, "off"), ("timm/b.py", 20, "called")),
    )
    text = judge.show(found, lines, around=1)
    shown = [line for line in text.split("\n") if line[1:7].strip().isdigit()]
    assert [int(line[1:7]) for line in shown] == [1, 2, 3, 4, 5, 6, 46, 47]
    assert shown[-1] == ">    47         loss.backward()  # \\x1b[2J"
    assert shown[5].startswith("*")


def test_a_run_is_measured_and_stopped(tmp_path: Path) -> None:
    done = measure([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 60.0)
    assert (done.exit_code, done.timed_out) == (3, False)
    assert measure([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2).timed_out


def costs(*seconds: float) -> Costs:
    return Costs(tuple(Cost(second, second, 1.0, 0) for second in seconds))


def bounds(per_copy: tuple[float, ...], ruff: float = 0.3, peer: float = 60.0) -> dict[str, bool]:
    measured = {"gradlint": costs(1.0, 1.2), "ruff": costs(ruff, ruff), "gradlint, one small file": costs(0.1, 0.1)}
    measured |= {"TorchFix": costs(peer), "torch-preflight": costs(peer)}
    for scale, second in zip(speed.SCALES, per_copy, strict=True):
        measured[speed.scale_name(scale)] = costs(0.1 + scale * second, 0.1 + 2 * scale * second)
    return {bound.name: bound.kept for bound in [*speed.ratio_bounds(measured), *speed.scale_bounds(measured, 1000)]}


def test_bounds_are_kept_or_missed() -> None:
    assert all(bounds((1.0, 1.0, 1.0, 1.0)).values())
    assert not all(bounds((1.0, 1.0, 1.0, 1.5)).values())
    assert not bounds((1.0,) * 4, ruff=0.2)["ruff times ..."]
    assert not bounds((1.0,) * 4, peer=40.0)["TorchFix takes ... times as long"]


def test_a_tool_that_fails_is_not_timed() -> None:
    broken = speed.Tool("broken", (sys.executable, "-c", "raise SystemExit(2)"))
    with pytest.raises(speed.SpeedError, match="exit status 2"):
        speed.timed(broken, 60.0)
