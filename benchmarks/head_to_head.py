"""Compare gradlint's runtime half with other checkers on 16 small programs with one mistake each, and on healthy ones.

For each program and tool: does the tool report anything, and does what it prints name the guilty file and line?
A report of gradlint counts only if it stands at that line.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from cases import BUGS, HEALTHY, STOP_GRADIENTS, Case, cases
from corpus import CACHE_VARIABLE, HERE, cache_folder
from linting import default_command, lint
from peers import RUNTIME_REQUIREMENTS, PeersError, provide_runtime_peers
from tables import table
from watched import LEVEL, Watched, watch

from gradlint.runtime.recorder import LEVELS

ROOT = HERE.parent
RESULTS = HERE / "results"
PEERS = {
    "torch": "torch raises",
    "detect_anomaly": "`detect_anomaly`",
    "torchtest": "torchtest",
    "torcheck": "torcheck",
    "torchtest2": "torchtest2",
    "pytest-torch": "pytest-torch",
    "torch_memory_leak": "its `torch_memory_leak`",
}
"""The columns: the name for ``peer_checks.py`` and the heading."""
PART_OF = {"torch_memory_leak": "pytest-torch"}
STATIC, RUNTIME, POSSIBLE = "gradlint check", "gradlint runtime", "with possible"
# Checks of peers that only see that the loss falls too slowly, whatever the reason.
INDIRECT = frozenset({"overfit_batch", "loss_decreases", "overfits_one_batch"})


@dataclass(frozen=True)
class Answer:
    """What one tool says about one program.

    ``checks`` are the names of the tool's checks, or the codes of rules, that report. ``indirect``: all of them only
    see that learning is slow. ``line``: the guilty file and line are named. ``ended`` is an error that is not the
    tool's own. ``elsewhere`` are gradlint's reports at other lines, which do not count. ``warned`` are Python's
    warnings that point at the program.
    """

    checks: tuple[str, ...] = ()
    indirect: bool = False
    line: bool = False
    message: str = ""
    ended: str = ""
    elsewhere: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()

    @property
    def caught(self) -> bool:
        """Whether the tool reports anything."""
        return bool(self.checks)

    @property
    def mark(self) -> str:
        """Write it as a cell of the table."""
        if not self.caught:
            return "-"
        return ("(✓)" if self.indirect else "✓") + (" line" if self.line else "")


class ToolError(Exception):
    """A tool does not run; the message says why."""


Answers = dict[str, dict[str, Answer]]
"""By tool, by case."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0; 1 when gradlint misses a bug or reports something healthy; 2 without peers."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    bugs, healthy, meant = cases(BUGS), cases(HEALTHY), cases(STOP_GRADIENTS)
    answers: Answers = {}
    missing: dict[str, str] = {}
    try:
        if not options.alone:
            python, missing = provide_runtime_peers(cache_folder(options.cache))
            answers = {tool: ask_peer(python, tool, bugs) for tool in PEERS if PART_OF.get(tool, tool) not in missing}
        answers[STATIC] = static_answers(bugs)
    except (PeersError, ToolError) as error:
        print(error, file=sys.stderr)
        return 2
    watched = {case.name: watch(case) for case in (*bugs, *healthy, *meant)}
    answers[RUNTIME] = {case.name: runtime_answer(case, watched[case.name], possible=False) for case in bugs}
    answers[POSSIBLE] = {case.name: runtime_answer(case, watched[case.name], possible=True) for case in bugs}
    levels = [by_level(level, bugs, [bugs[0], *healthy, *meant]) for level in LEVELS]
    text = report(bugs, answers, missing, {"healthy": healthy, "meant": meant}, watched, levels)
    print(text, end="")
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "head_to_head.md").write_text(text, encoding="utf-8")
    (options.results / "head_to_head.json").write_text(_as_json(bugs, answers, missing, watched), encoding="utf-8")
    missed = [case.name for case in bugs if case.guilty and not answers[POSSIBLE][case.name].line]
    calm = [watched[case.name] for case in (bugs[0], *healthy)]
    alarms = [each for each in calm if each.seen(possible=False) or each.unfrozen]
    return int(bool(missed or alarms))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--alone", action="store_true", help="leave the peers out")
    made.add_argument("--cache", metavar="DIR", help=f"where the peers' environment lies (else ${CACHE_VARIABLE})")
    made.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the tables go")
    return made


def ask_peer(python: Path, tool: str, bugs: Iterable[Case]) -> dict[str, Answer]:
    """Run one peer on all bugs. Raises `ToolError` when it cannot run at all."""
    command = [str(python), str(HERE / "peer_checks.py"), tool]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{tool} did not run:\n{done.stderr.strip()}")
    rows = {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}
    return {case.name: peer_answer(case, rows[case.name]) for case in bugs}


def peer_answer(case: Case, row: Mapping[str, Any]) -> Answer:
    """Judge a row of ``peer_checks.py``. Everything it printed counts when the line is looked for."""
    checks: dict[str, str] = row["messages"]
    named = names(row["trace"], case)
    message = " | ".join(_first_line(text) for text in checks.values())
    indirect = bool(checks) and INDIRECT.issuperset(checks)
    ended, warned = _first_line(row["ended"]), tuple(row["warned"])
    return Answer(tuple(checks), indirect, named, message, ended, warned=warned)


def names(text: str, case: Case) -> bool:
    """Tell whether ``text`` names the file and a guilty line, the way compilers or tracebacks do."""
    lines = "|".join(map(str, case.guilty))
    return bool(lines) and re.search(rf'{re.escape(case.path.name)}(?:", line |:)(?:{lines})\b', text) is not None


def static_answers(bugs: Iterable[Case]) -> dict[str, Answer]:
    """Judge what the linter says without running the programs. Raises `ToolError` when it crashes."""
    done = lint(default_command(), BUGS, BUGS, "", "")
    if done.crash:
        raise ToolError(f"gradlint check did not run: {done.crash}")
    answers = {}
    for case in bugs:
        here = [each for each in done.found if each.site.path == case.path.name]
        found = [each for each in here if not case.guilty or each.site.line in case.guilty]
        message = " | ".join(each.message for each in found)
        others = tuple(f"{each.site.line}: {each.site.code} {each.message}" for each in here if each not in found)
        codes = tuple(each.site.code for each in found)
        answers[case.name] = Answer(codes, False, bool(found), message, elsewhere=others)
    return answers


def runtime_answer(case: Case, watched: Watched, *, possible: bool) -> Answer:
    """Judge gradlint's observations: at the guilty line, or, where there is none, anywhere."""
    seen = watched.seen(possible=possible)
    found = watched.at(case, possible=possible) if case.guilty else seen
    others = tuple(f"{each.line}: {each.code} {each.text}" for each in seen if each not in found)
    said = {each.code: each.text for each in found}
    if watched.unfrozen and (not case.guilty or names(watched.unfrozen, case)):
        said["assert_frozen"] = _first_line(watched.unfrozen)
    return Answer(tuple(said), False, bool(said), " | ".join(said.values()), _first_line(watched.ended), others)


def by_level(level: int, bugs: Iterable[Case], calm: Iterable[Case]) -> list[str]:
    """Return a row: how many guilty lines a recording of ``level`` names, and how many reports are wrong."""
    seen = {case: watch(case, level) for case in bugs if case.guilty}
    named = [sum(bool(each.at(case, possible=possible)) for case, each in seen.items()) for possible in (False, True)]
    wrong = sum(len(watch(case, level).seen(possible=False)) for case in calm)
    return [str(level), *map(str, named), str(wrong)]


def report(
    bugs: Sequence[Case],
    answers: Answers,
    missing: Mapping[str, str],
    loops: Mapping[str, Sequence[Case]],
    watched: Mapping[str, Watched],
    levels: Sequence[Sequence[str]],
) -> str:
    """Return the result in Markdown."""
    tools = list(answers)
    guilty = [case for case in bugs if case.guilty]
    rows = [["program", *(PEERS.get(tool, tool) for tool in tools)]]
    rows += [[f"`{case.name}`", *(answers[tool][case.name].mark for tool in tools)] for case in bugs]
    counted: dict[str, Callable[[Answer], bool]] = {
        f"caught of {len(guilty)}": lambda answer: answer.caught and not answer.indirect,
        "also seen by slow learning": lambda answer: answer.indirect,
        "guilty line named": lambda answer: answer.line,
    }
    for what, counts in counted.items():
        rows.append([f"**{what}**", *(str(sum(counts(answers[tool][case.name]) for case in guilty)) for tool in tools)])
    elsewhere = ["" if tool in PEERS else str(_elsewhere(answers[tool], guilty)) for tool in tools]
    rows.append(["**reports at other lines**", *elsewhere])
    return "\n".join(
        [
            "# Runtime checkers head to head",
            "",
            f"{_versions()}. ✓: reported; (✓): only a check that the loss falls fast enough complains; "
            "line: the report names the guilty file and line.",
            "",
            table(rows),
            "",
            *(f"* {tool} could not be installed: {reason}\n" for tool, reason in missing.items()),
            *_warnings(answers.get("torch", {})),
            "## Levels of the recording",
            "",
            table([["level", "guilty line named", "with possible", "reports where nothing is wrong"], *levels]),
            "",
            *_healthy("Healthy training loops", loops["healthy"], watched),
            *_healthy("Stop-gradients that are meant", loops["meant"], watched),
        ]
    )


def _warnings(answers: Mapping[str, Answer]) -> list[str]:
    """Say what torch warns of without raising: it points at the program, though it may advise something else."""
    warned = [f"* torch warns in `{name}.py`, line {text}" for name, each in answers.items() for text in each.warned]
    return [*warned, ""] if warned else []


def _elsewhere(answers: Mapping[str, Answer], guilty: Sequence[Case]) -> int:
    return sum(len(answers[case.name].elsewhere) for case in guilty)


def _healthy(title: str, loops: Sequence[Case], watched: Mapping[str, Watched]) -> list[str]:
    rows = [["program", "reported", "with possible"]]
    lines = []
    for case in loops:
        found = watched[case.name]
        unfrozen = ["assert_frozen"] if found.unfrozen else []
        shown = [*found.seen(possible=False), *unfrozen]
        rows.append([f"`{case.name}`", str(len(shown)), str(len(found.observations) + len(unfrozen))])
        lines += [
            f"* `{case.name}`:{each.line}: {each.code} {each.text} ({each.certainty})" for each in found.observations
        ]
    return [f"## {title}", "", table(rows), "", *lines, *([""] if lines else [])]


def _versions() -> str:
    pins = RUNTIME_REQUIREMENTS.read_text(encoding="utf-8").split()
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, {', '.join(pins)}; gradlint at level {LEVEL}"
    )


def _as_json(bugs: Sequence[Case], answers: Answers, missing: Mapping[str, str], watched: Mapping[str, Watched]) -> str:
    made = {
        "versions": _versions(),
        "missing": missing,
        "cases": {
            case.name: {
                "path": case.path.relative_to(ROOT).as_posix(),
                "guilty": case.guilty,
                "summary": case.summary,
                "answers": {
                    tool: {"caught": each[case.name].caught, **asdict(each[case.name])}
                    for tool, each in answers.items()
                },
            }
            for case in bugs
        },
        "observations": {name: [asdict(each) for each in seen.observations] for name, seen in watched.items()},
    }
    return json.dumps(made, indent=2, ensure_ascii=False).replace(f"{ROOT}/", "") + "\n"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
