"""Time gradlint beside ruff, TorchFix and torch-preflight on timm, and check the bounds it promises.

Whole processes, two worker processes each, no result caches, output discarded. Fast commands run several times,
interleaved and in alternating order, so that a slow minute of the machine hits all of them; a ratio is the median of
the ratios within one round. The slow peers run once, between the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clock import Cost, Costs, measure, pin
from corpus import CACHE_VARIABLE, CorpusError, Tree, cache_folder, count_lines, pinned, provide
from linting import command_of
from packages import align
from peers import PeersError, provide_peers

PACKAGE = "timm"
PROCESSES = 2
PEER_TIMES = 50.0
RUFF_TIMES = 4.0
SMALL_FILE_SECONDS = 0.4
SCALES = (1, 2, 4, 8)
SCALE_TOLERANCE = 0.10
SMALL_FILE = """\
import torch


def train(model, loader, loss_fn, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, loader):
    return sum(model(x).sum().item() for x, _ in loader)
"""


@dataclass(frozen=True)
class Tool:
    """A command to time. ``answers`` are the exit codes of a run that did its work."""

    name: str
    command: tuple[str, ...]
    answers: tuple[int, ...] = (0, 1)
    slow: bool = False


@dataclass(frozen=True)
class Bound:
    """One promise. ``value`` must be at least (``least``) or at most ``limit``."""

    name: str
    value: float
    limit: float
    least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the measurement keeps the promise."""
        return self.value >= self.limit if self.least else self.value <= self.limit


class SpeedError(Exception):
    """A command did not do its work, so that its time means nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 when a bound is missed, 2 when something cannot be measured."""
    options = parser().parse_args(argv)
    cache = cache_folder(options.cache)
    try:
        tree = provide(pinned([PACKAGE])[0], cache)
        commands = provide_peers(cache)
        processors = pin(PROCESSES)
        with tempfile.TemporaryDirectory() as scratch:
            tools = [
                *gradlint_tools(command_of(options.gradlint), tree, Path(scratch), partial=options.report),
                *peer_tools(commands, tree.folder, quick=options.quick),
            ]
            costs = run_all(tools, options.repeats, options.timeout)
    except (CorpusError, PeersError, SpeedError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    files = tree.files()
    lines = count_lines(files)
    bounds = [*ratio_bounds(costs), *scale_bounds(costs, lines)]
    print(heading(tree, len(files), lines, processors))
    print(f"\n{cost_table(costs)}\n\n{bound_table(bounds)}")
    if options.write:
        write(Path(options.write), costs, bounds)
    missed = [bound for bound in bounds if not bound.kept]
    return 1 if missed and not options.report else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds of the fast commands (else 5)")
    made.add_argument("--timeout", type=float, default=600.0, metavar="S", help="stop a command after S seconds")
    made.add_argument("--quick", action="store_true", help="leave TorchFix and torch-preflight out")
    made.add_argument(
        "--report", action="store_true", help="exit with 0 although a bound is missed, and accept partial runs"
    )
    made.add_argument("--write", metavar="FILE", help="write every run and every bound there as JSON")
    made.add_argument("--cache", metavar="DIR", help=f"packages and peers (else ${CACHE_VARIABLE})")
    made.add_argument("--gradlint", metavar="COMMAND", help="command to run instead of this interpreter's gradlint")
    return made


def gradlint_tools(command: Sequence[str], tree: Tree, scratch: Path, *, partial: bool) -> list[Tool]:
    """Time gradlint on the package, on one small file, and on 1, 2, 4 and 8 copies of the package's Python files.

    ``partial`` accepts runs that could not analyse everything (exit code 2).
    """
    base = (*command, "check", "--isolated", "--no-cache", "--format", "concise", "--jobs", str(PROCESSES))
    answers = (0, 1, 2) if partial else (0, 1)
    small = scratch / "small.py"
    small.write_text(SMALL_FILE, encoding="utf-8")
    copies = []
    for number in range(max(SCALES)):
        copy = scratch / f"copy{number}" / tree.folder.name
        for file in tree.files():
            target = copy / file.relative_to(tree.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        copies.append(str(copy))
    return [
        Tool("gradlint", (*base, str(tree.folder)), answers),
        Tool("gradlint, one small file", (*base, str(small)), answers),
        *(Tool(scale_name(scale), (*base, *copies[:scale]), answers) for scale in SCALES),
    ]


def scale_name(scale: int) -> str:
    """The row name of ``scale`` copies."""
    return f"gradlint, {scale} x the files"


def peer_tools(commands: Path, folder: Path, *, quick: bool) -> list[Tool]:
    """The commands of ruff with its default rules and with all, and unless ``quick`` the two linters for torch."""
    jobs, target = str(PROCESSES), str(folder)
    ruff = (str(commands / "ruff"), "check", "--no-cache", "--isolated", "--quiet", "--output-format", "concise")
    tools = [Tool("ruff", (*ruff, target)), Tool("ruff, all rules", (*ruff, "--select", "ALL", target))]
    if not quick:
        torchfix = (str(commands / "torchfix"), "--jobs", jobs, "--select", "ALL", target)
        preflight = (str(commands / "torch-preflight"), "check", "--jobs", jobs, "--no-color", target)
        tools += [Tool("TorchFix", torchfix, (0,), slow=True), Tool("torch-preflight", preflight, slow=True)]
    return tools


def run_all(tools: Sequence[Tool], repeats: int, timeout: float) -> dict[str, Costs]:
    """Run every fast tool ``repeats`` times and every slow one once between the rounds.

    Raises `SpeedError` when a tool ends with an exit code that is no answer, or a fast one is too slow.
    """
    fast = [tool for tool in tools if not tool.slow]
    waiting = [tool for tool in tools if tool.slow]
    runs: dict[str, list[Cost]] = {tool.name: [] for tool in tools}
    # Once unmeasured: byte code and the file system's pages are warm for everyone, as on any second run.
    for tool in fast:
        timed(tool, timeout)
    for turn in range(max(repeats, len(waiting))):
        order = fast if turn % 2 == 0 else fast[::-1]
        for tool in order if turn < repeats else []:
            runs[tool.name].append(timed(tool, timeout))
        if waiting:
            slow = waiting.pop(0)
            runs[slow.name].append(timed(slow, timeout))
    return {name: Costs(tuple(costs)) for name, costs in runs.items()}


def timed(tool: Tool, timeout: float) -> Cost:
    """Time one run. Raises `SpeedError` when it did not do its work."""
    # Byte code may be kept whatever the caller's shell says: Python takes twice as long to start without it.
    variables = {"RAYON_NUM_THREADS": str(PROCESSES), "PYTHONDONTWRITEBYTECODE": ""}
    # A new working folder each time: nothing that a tool keeps there survives to the next run.
    with tempfile.TemporaryDirectory() as empty:
        cost = measure(tool.command, Path(empty), timeout, variables)
    if cost.timed_out and not tool.slow:
        raise SpeedError(f"{tool.name}: no answer after {timeout:.0f} s")
    if not cost.timed_out and cost.exit_code not in tool.answers:
        raise SpeedError(f"{tool.name}: exit status {cost.exit_code} of {' '.join(tool.command)}")
    return cost


def ratio_bounds(costs: Mapping[str, Costs]) -> list[Bound]:
    """How gradlint's wall time compares with every peer, and what one small file takes."""
    mine = costs["gradlint"]
    bounds = [
        Bound(f"{peer} takes ... times as long", costs[peer].wall / mine.wall, PEER_TIMES, least=True)
        for peer in ("TorchFix", "torch-preflight")
        if peer in costs
    ]
    pairs = zip(mine.runs, costs["ruff"].runs, strict=True)
    bounds.append(Bound("ruff times ...", statistics.median(a.wall / b.wall for a, b in pairs), RUFF_TIMES))
    bounds.append(Bound("one small file, seconds", costs["gradlint, one small file"].wall, SMALL_FILE_SECONDS))
    return bounds


def scale_bounds(costs: Mapping[str, Costs], lines: int) -> list[Bound]:
    """How far the processor time per line is from its mean over 1, 2, 4 and 8 copies; start-up is left out."""
    start = costs["gradlint, one small file"].cpu
    rounds = [
        [(run.cpu - start) / (scale * lines) for scale, run in zip(SCALES, turn, strict=True)]
        for turn in zip(*(costs[scale_name(scale)].runs for scale in SCALES), strict=True)
    ]
    bounds = []
    for column, scale in enumerate(SCALES):
        relative = statistics.median(turn[column] / statistics.fmean(turn) for turn in rounds)
        bounds.append(Bound(f"cost per line, {scale} x the files: off the mean by", abs(relative - 1), SCALE_TOLERANCE))
    return bounds


def heading(tree: Tree, files: int, lines: int, processors: int) -> str:
    """What was measured on which machine."""
    package = tree.package
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{package.name} {package.version}: {files} files, {lines} lines; {system}, {processors} processors{load}"


def cost_table(costs: Mapping[str, Costs]) -> str:
    """One row per command."""
    rows = [["command", "runs", "wall s", "fastest", "slowest", "CPU s", "MB", "exit"]]
    for name, cost in costs.items():
        walls = [run.wall for run in cost.runs]
        cells = [f"{seconds:.2f}" for seconds in (cost.wall, min(walls), max(walls), cost.cpu)]
        codes = "stopped" if cost.timed_out else ",".join(map(str, cost.exit_codes))
        rows.append([name, str(len(walls)), *cells, f"{cost.megabytes:.0f}", codes])
    return align(rows)


def bound_table(bounds: Sequence[Bound]) -> str:
    """One row per promise."""
    rows = [["promise", "measured", "", "bound", ""]]
    for bound in bounds:
        sign, verdict = ">=" if bound.least else "<=", "ok" if bound.kept else "MISSED"
        rows.append([bound.name, f"{bound.value:.3f}", sign, f"{bound.limit:g}", verdict])
    return align(rows)


def write(path: Path, costs: Mapping[str, Costs], bounds: Sequence[Bound]) -> None:
    """Write all runs and bounds as JSON."""
    made = {
        "runs": {name: [asdict(run) for run in cost.runs] for name, cost in costs.items()},
        "bounds": [{**asdict(bound), "kept": bound.kept} for bound in bounds],
    }
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
