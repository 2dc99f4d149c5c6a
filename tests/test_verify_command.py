"""`gradlint verify`: running programs, their exit codes and streams, and what is said of findings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradlint import cli
from gradlint.runtime.verdict import Verified
from gradlint.runtime.verify import command
from gradlint.runtime.verify.program import Program

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "fixtures" / "verify"
SUBSET = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-subset.json").read_text())

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verify]:
    """Run the command in this process, below `fixtures/verify`; return the exit code and the report."""
    monkeypatch.chdir(PROGRAMS)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    before = set(sys.modules)

    def forget() -> None:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith((str(PROGRAMS), str(tmp_path))):
                del sys.modules[name]

    def run(*arguments: str) -> tuple[int, str]:
        forget()
        report = tmp_path / "report"
        report.unlink(missing_ok=True)
        code = cli.main(["verify", "-o", str(report), *arguments])
        return code, report.read_text() if report.exists() else ""

    yield run
    forget()


def started(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python below `fixtures/verify`; for `gradlint` as its users do."""
    full = [sys.executable, *(["-m", "gradlint"] if arguments[0] == "verify" else []), *arguments]
    given = {"cwd": PROGRAMS, "capture_output": True, "text": True, "timeout": 120, "check": False, **options}
    done: subprocess.CompletedProcess[str] = subprocess.run(full, **given)
    return done


def verdicts(report: str) -> list[str]:
    """Return the headlines of a report."""
    words = ("CONFIRMED", "OBSERVED", "INCONCLUSIVE", "REFUTED", "NOT REACHED")
    return [
        " ".join(line.split()[: 4 if line.startswith("NOT") else 3])
        for line in report.split("\n")
        if line.startswith(words)
    ]


def test_every_kind_of_verdict(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(PROGRAMS / "ranking")
    code, report = verify("-m", "ranking.train", "1")
    assert capsys.readouterr().out.startswith("validation error ")
    assert (code, verdicts(report)) == (
        1,
        [
            "CONFIRMED ranking/train.py:29:41: GRD102",
            "OBSERVED ranking/model.py:15:9: GRD303",
            "REFUTED ranking/evaluate.py:10:32: GRD102",
            "NOT REACHED ranking/model.py:20:13: GRD202",
        ],
    )
    assert "\n 29 |         error += nn.functional.mse_loss(model(x), y).item()\n" in report
    assert "\n    = run: 2 forwards kept 2.0 KiB that no backward used\n    = help: run it inside" in report
    last = report.splitlines()[-1]
    assert last.startswith("1 confirmed, 1 observed, 1 refuted, 1 not reached (4 files linted; torch ")
    assert last.endswith(", cpu, level 3)")


def test_a_program_runs_as_under_python() -> None:
    plain, watched = started("failing.py", "--a", "b"), started("verify", "failing.py", "--a", "b")
    assert (watched.returncode, watched.stderr) == (plain.returncode, plain.stderr) == (1, plain.stderr)
    assert watched.stdout.startswith(plain.stdout) and plain.stdout.startswith("['failing.py', '--a', 'b']\n__main__\n")
    assert verdicts(watched.stdout) == ["CONFIRMED losses.py:15:5: GRD101"]
    assert "\nnote: the program raised TrainingFailed: no gradients\n" in watched.stdout


def test_threads_processes_and_exit_handlers() -> None:
    done = started("verify", "--format", "json", "workers.py")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["run"]["exit_code"] == 1
    said = done.stderr.splitlines()
    assert said.count("nothing left to do") == 1 and said.count("the child ran") == 1
    assert {"the pool ran", "doubled [2, 4]", "the child ended with 5", "scored in the background"} <= set(said)
    assert said.count("the exit handler ran") == 2, "once in the child"
    (finding,) = found["findings"]
    assert (finding["code"], finding["verdict"], finding["hits"]) == ("GRD102", "CONFIRMED", 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_program_is_reported(number: signal.Signals, code: int) -> None:
    full = [sys.executable, "-m", "gradlint", "verify", "--level", "0", "serve.py"]
    with subprocess.Popen(full, cwd=PROGRAMS, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "answered\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert ("KeyboardInterrupt" in err) is (number == signal.SIGINT)
    assert verdicts(out) == ["CONFIRMED serve.py:16:9: GRD102"]


def test_pytest_rewrites_its_tests_all_the_same() -> None:
    done = started("verify", "-m", "pytest", "-q", "-p", "no:cacheprovider", "checks")
    assert "3 passed" in done.stdout and done.returncode == 1
    assert verdicts(done.stdout) == ["CONFIRMED losses.py:15:5: GRD101"]


def test_compiled_code_stays_whole() -> None:
    done = started("verify", "compiled.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{} 2\n")
    assert verdicts(done.stdout) == ["INCONCLUSIVE compiled.py:12:5: GRD302"]


def test_streams_that_are_not_there() -> None:
    script = f'"{sys.executable}" -m gradlint verify --format json finetune.py >&- 2>&-'
    assert subprocess.run(script, shell=True, cwd=PROGRAMS, timeout=120, check=False).returncode == 1


@pytest.mark.parametrize(
    ("function", "printed", "code", "verdict"),
    [
        ("evaluate", "scored torch.Size([3, 1]) on cpu\n" * 3, 1, "CONFIRMED pieces.py:12:34: GRD102"),
        ("adapt", "", 1, "CONFIRMED pieces.py:19:5: GRD101"),
        ("stream", "", 0, "OBSERVED pieces.py:25:15: GRD102"),
        ("windows", "window (3, 4)\n" * 3, 0, ""),
        ("Gate::forward", "", 1, "CONFIRMED pieces.py:41:9: GRD302"),
    ],
)
def test_functions_are_called(
    verify: Verify, capsys: Any, function: str, printed: str, code: int, verdict: str
) -> None:
    got, report = verify("--device", "cpu", f"pieces.py::{function}")
    assert (got, capsys.readouterr().out) == (code, printed)
    assert [line for line in verdicts(report) if not line.startswith("NOT")] == [verdict] * bool(verdict)


def test_a_function_of_a_package(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    code, report = verify("ranking/ranking/train.py::validate")
    assert code == 1 and "CONFIRMED ranking/ranking/train.py:29:41: GRD102" in report
    assert sys.modules["ranking.train"].__package__ == "ranking"
    monkeypatch.chdir(PROGRAMS / "ranking" / "ranking")
    assert verify("train.py::validate")[0] == 1


def test_a_folder_with_a_main(verify: Verify, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "part.py").write_text(
        "import torch\n\n\ndef f(x):\n    with torch.no_grad:\n        return x\n"
    )
    main = """\
import sys
import part
print(sys.argv, __spec__.name, __package__)
try:
    part.f(1)
finally:
    sys.exit()
"""
    (tmp_path / "app" / "__main__.py").write_text(main)
    code, report = verify(str(tmp_path / "app"), "word")
    assert capsys.readouterr().out == f"['{tmp_path / 'app'}', 'word'] __main__ \n"
    assert (code, verdicts(report)) == (1, [f"CONFIRMED {tmp_path}/app/part.py:5:10: GRD104"])


@pytest.mark.parametrize(
    ("ending", "code", "err"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(256 + 7)", 7, ""),
        ("sys.exit('so long')", 1, "so long\n"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("raise SystemError('odd')", 1, "SystemError: odd"),
        ("sys.excepthook = lambda *a: print('hooked', a[1], file=sys.stderr); 1 / 0", 1, "hooked division by zero\n"),
        ("sys.excepthook = None; 1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("sys.stdout = open('out', 'w'); sys.stdout.close()", 0, ""),
        ("import os; os.chdir('/')", 0, ""),
        ("sys.meta_path.pop(0)", 0, ""),
        ("del sys.modules['__main__']", 0, ""),
    ],
)
def test_how_programs_end(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, ending: str, code: int, err: str
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    (tmp_path / "ends.py").write_text(f"import sys, torch\ntorch.no_grad()\n{ending}\n")
    monkeypatch.chdir(tmp_path)
    got, report = verify("--level", "1", "--exit-zero", "ends.py")
    assert got == code and verdicts(report) == ["CONFIRMED ends.py:2:1: GRD103"]
    assert (f"exit code {code}\n" in report or "the program raised" in report) is bool(code)
    said = capsys.readouterr().err
    assert said.endswith(err) or said.rstrip("\n").endswith(err)
    assert "gradlint/" not in said and (bool(said) is bool(err))


MISUSE = {
    (): "name a script, a module with -m, or FILE::FUNCTION",
    ("--nosuch", "finetune.py"): "No such option",
    ("--level", "4", "finetune.py"): "not in the range",
    ("--format", "github", "finetune.py"): "is not one of",
    ("--select", "GRD999", "finetune.py"): "unknown rule `GRD999`",
    ("--config", "nosuch.toml", "finetune.py"): "nosuch.toml: cannot be read",
    ("nosuch.py",): "there is no file nosuch.py",
    ("checks",): "the folder checks has no __main__.py",
    ("nosuch.py::train",): "there is no file nosuch.py",
    ("pieces.py::nosuch",): "pieces.py has no `nosuch`",
    ("pieces.py::Gate::nosuch",): "pieces.py has no `Gate.nosuch`",
    ("pieces.py::Head::weights",): "`Head` cannot be made without arguments",
    ("pieces.py::search",): "`search` cannot be called: no argument is called space",
    ("pieces.py::LIMIT",): "`LIMIT` in pieces.py cannot be called",
    ("-m", "nosuch"): "there is no module nosuch",
    ("-m", "json.nosuch"): "there is no module json.nosuch",
    ("-m", "json.tool.nosuch"): "there is no module json.tool.nosuch",
    ("-m", "email"): "there is no module email.__main__",
    ("-m", "sys"): "holds no Python code",
    ("--device", "nosuch", "pieces.py::windows"): "torch knows no device called 'nosuch'",
    ("--device", "cpu", "finetune.py"): "--device is for FILE::FUNCTION and --rule",
    ("--device", "cpu", "--device", "cpu", "pieces.py::windows"): "name one",
    ("--rule", "GRD104", "--fix"): "--rule runs the examples of a rule's page, and no program or fix",
    ("--rule", "GRD104", "finetune.py"): "--rule runs the examples of a rule's page",
}


@pytest.mark.parametrize("arguments", MISUSE)
def test_misuse(verify: Verify, capsys: Any, arguments: tuple[str, ...]) -> None:
    assert verify(*arguments) == (2, "")
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and MISUSE[arguments] in err and "Traceback" not in err


def test_a_device_that_is_not_there(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert verify("--device", "cuda", "pieces.py::windows")[0] == 2
    assert "there is no device 'cuda' on this machine; here there are cpu" in capsys.readouterr().err


def test_a_report_that_cannot_be_written(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROGRAMS)
    assert cli.main(["verify", "-o", "nosuch/report", "finetune.py"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: cannot write nosuch/report: No such file or directory\n")


def test_without_torch(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert verify("finetune.py") == (2, "")
    assert capsys.readouterr().err == "error: verify needs PyTorch: pip install 'torch-gradlint[runtime]'\n"


def test_a_torch_that_is_broken(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(name: str) -> None:
        raise OSError("libcudart.so: no such file")

    monkeypatch.setattr(command, "import_module", broken)
    assert verify("finetune.py") == (2, "")
    assert capsys.readouterr().err == "error: PyTorch cannot be imported: libcudart.so: no such file\n"


def test_the_command_line_loads_no_torch() -> None:
    code = "import sys, gradlint.cli; print(*sorted({'torch', 'gradlint.engine', 'rich'} & sys.modules.keys()))"
    assert started("-c", code).stdout.split() == []


def test_settings(verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert verdicts(verify("--select", "GRD101,GRD201", "finetune.py")[1]) == [
        "CONFIRMED finetune.py:11:5: GRD201",
        "NOT REACHED finetune.py:40:5: GRD101",
    ]
    assert verify("--exit-zero", "finetune.py")[0] == 0
    assert verify("--ignore", "GRD102,GRD201", "finetune.py")[0] == 0
    assert verify("--quiet", "finetune.py")[1].splitlines()[-1] == ""
    (tmp_path / "finetune.py").write_text((PROGRAMS / "finetune.py").read_text())
    (tmp_path / "gradlint.toml").write_text('select = ["GRD101"]\n')
    monkeypatch.chdir(tmp_path)
    assert verdicts(verify("finetune.py")[1]) == ["NOT REACHED finetune.py:40:5: GRD101"]
    assert len(verdicts(verify("--isolated", "finetune.py")[1])) == 3


EDIT = """import torch
w = torch.ones(3, requires_grad=True)
h = w.exp()
torch.nn.init.zeros_(h.data[0]){}
h.sum().backward()
"""


def test_what_was_seen_can_be_suppressed(verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "edit.py"

    def seen(comment: str, *options: str) -> list[str]:
        program.write_text(EDIT.format(comment))
        return verdicts(verify(*options, "edit.py")[1])

    assert seen("") == ["OBSERVED edit.py:4:1: GRD303"]
    assert verify("edit.py")[0] == 0, "a missed alarm is no confirmed finding"
    assert seen("  # noqa") == []
    assert seen("", "--select", "GRD1") == seen("", "--min-certainty", "certain") == []
    assert seen("", "--select", "GRD1,GRD302") == []


def test_machine_formats(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(PROGRAMS / "ranking")
    listed = json.loads(verify("--format", "json", "-m", "ranking.train", "1")[1])
    by_verdict = {finding["verdict"]: finding for finding in listed["findings"]}
    assert [(f["path"], f["line"]) for f in listed["findings"]] == sorted(
        (f["path"], f["line"]) for f in listed["findings"]
    )
    assert by_verdict["CONFIRMED"]["hits"] == 2 and by_verdict["NOT REACHED"]["hits"] == 0
    assert by_verdict["REFUTED"]["figures"] == ["2 forwards built no graph: gradients were off in all of them"]
    assert listed["summary"]["by_verdict"] == {"CONFIRMED": 1, "OBSERVED": 1, "REFUTED": 1, "NOT REACHED": 1}
    assert listed["run"]["program"] == "-m ranking.train 1" and listed["run"]["raised"] is None
    log = json.loads(verify("--format", "sarif", "-m", "ranking.train", "1")[1])
    jsonschema.validate(log, SUBSET)
    (run,) = log["runs"]
    assert [result["properties"]["verdict"] for result in run["results"]] == ["OBSERVED", "NOT REACHED", "CONFIRMED"]
    assert run["results"][2]["message"]["text"].startswith("CONFIRMED: `model(...)` builds a graph")
    assert run["results"][0]["ruleId"] == "GRD303"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"GRD102", "GRD202", "GRD303"}
    assert [each["verdict"] for each in run["properties"]["refuted"]] == ["REFUTED"]
    page = verify("--format", "html", "-m", "ranking.train", "1")[1]
    assert page.startswith("<!") and "REFUTED" in page and "ranking/train.py:29:41" in page


def test_rules_are_run(verify: Verify, capsys: Any) -> None:
    code, report = verify("--rule", "GRD104", "--device", "cpu")
    assert code == 0 and "GRD104" in report and "CONFIRMED on cpu" in report
    code, report = verify("--rule", "GRD104", "--format", "json", "--device", "cpu")
    assert code == 0 and json.loads(report)["rules"][0]["code"] == "GRD104"


def test_what_is_written_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "import torch\ntorch.no_grad()\ntry:\n    print('é')\nexcept UnicodeEncodeError:\n    print('strict')\n"
    )
    done = started("verify", "--level", "1", "odd.py", cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("strict\nCONFIRMED odd.py:2:1: GRD103")


def test_fixes_are_tried(verify: Verify, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def prove(program: Program, verified: Sequence[Verified], *, say: Any, **options: Any) -> list[Verified]:
        asked.append((str(program), options["include"]))
        say("running it")
        return [replace(each, figures=(*each.figures, "with the fix: None")) for each in verified]

    monkeypatch.setattr("gradlint.runtime.verify.differential.prove", prove)
    code, report = verify("--fix", "--include", "timm", "finetune.py", "2")
    assert code == 1 and asked == [("finetune.py 2", ("timm",))]
    assert report.count("    = run: with the fix: None\n") == 2
    assert capsys.readouterr().err == "gradlint: running it\n"


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_trying_fixes_may_be_stopped(
    verify: Verify, monkeypatch: pytest.MonkeyPatch, stop: BaseException, code: int
) -> None:
    def prove(*arguments: Any, **options: Any) -> None:
        raise stop

    monkeypatch.setattr("gradlint.runtime.verify.differential.prove", prove)
    got, report = verify("--fix", "--quiet", "finetune.py")
    assert got == code and len(verdicts(report)) == 3


def test_no_fix_is_tried_for_a_program_that_was_stopped(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlint.runtime.verify.differential.prove", lambda *_, **__: 1 / 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stopped.py").write_text("import torch\ntorch.no_grad()\nraise KeyboardInterrupt\n")
    assert verify("--fix", "stopped.py")[0] == 130


def test_lines_do_where_the_interpreter_keeps_no_columns() -> None:
    done = started("verify", "-q", "finetune.py", env={**os.environ, "PYTHONNODEBUGRANGES": "1"})
    assert done.returncode == 1
    found = [line.partition(": ")[0] for line in done.stdout.splitlines() if line.startswith(("CONFIRMED", "REFUTED"))]
    assert found == ["CONFIRMED finetune.py:11:5", "CONFIRMED finetune.py:32:23"]
