"""Measure what recording costs at every level, beside torch's anomaly detection, and that it changes no gradient.

Two training loops: a small network, which spends most of its time in the calls of torch themselves, and a small
transformer. Processor time of one thread. In each round every variant runs right beside the plain loop, before or after
it by turns, and its ratio is the median over the rounds, so that a slow minute of the machine hits both. The plain loop
beside itself shows the noise. What a recording costs once, whatever it holds, is measured on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from corpus import HERE
from tables import table
from torch import nn

from gradlint.runtime.recorder import LEVELS, record

RESULTS = HERE / "results"
PLAIN, ANOMALY = "plain", "detect_anomaly"
BOUNDS = {
    0: {"MLP": 1.10, "transformer": 1.02},
    1: {"MLP": 1.8, "transformer": 1.12},
    3: {"MLP": 5.5, "transformer": 1.6},
}
COMPARED_STEPS = 5
WARM_UP = 2


@dataclass(frozen=True)
class Workload:
    """A training loop: ``make()`` gives a function that takes one step. ``steps`` are timed at once."""

    name: str
    make: Callable[[], Step]
    steps: int


@dataclass(frozen=True)
class Step:
    """One training step of a model, and the model."""

    model: nn.Module
    take: Callable[[], None]


@dataclass(frozen=True)
class Cost:
    """A variant on a workload: milliseconds per step and the ratio to the plain loop, both medians.

    ``low`` and ``high`` are the quartiles of the ratio, ``once`` the milliseconds of entering and leaving.
    """

    workload: str
    variant: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    once: float
    bound: float | None

    @property
    def kept(self) -> bool:
        """Whether the ratio is within its bound, if there is one."""
        return self.bound is None or self.ratio <= self.bound


class Transformer(nn.Module):  # type: ignore[misc] # torch is not followed
    """Two layers of width 128 on 64 tokens out of 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.position = nn.Parameter(torch.zeros(64, 128))
        layer = nn.TransformerEncoderLayer(128, nhead=4, dim_feedforward=512, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(128, 1000)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits (batch * 64, 1000) of ``tokens`` (batch, 64)."""
        hidden = self.layers(self.embedding(tokens) + self.position)
        return self.head(hidden.flatten(0, 1))


def mlp() -> Step:
    """Three linear layers, 32 to 64 to 64 to 10, a batch of 32, SGD."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, labels = torch.randn(32, 32), torch.randint(10, (32,))
    return Step(model, _step(model, optimizer, inputs, labels))


def transformer() -> Step:
    """The small transformer, a batch of 8, AdamW."""
    torch.manual_seed(0)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(1000, (8, 64))
    return Step(model, _step(model, optimizer, tokens, tokens.roll(1, dims=1).flatten()))


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    def take() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()

    return take


WORKLOADS = (Workload("MLP", mlp, 300), Workload("transformer", transformer, 10))


def variants() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Return what the loops run under, by name."""
    levels = {f"level {level}": _at(level) for level in LEVELS}
    return {PLAIN: contextlib.nullcontext, **levels, ANOMALY: _anomaly}


def _at(level: int) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: record(level)


def _anomaly() -> AbstractContextManager[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow, which is what is measured
        entered: AbstractContextManager[Any] = torch.autograd.detect_anomaly()
    return entered


def measure(workload: Workload, repeats: int) -> list[Cost]:
    """Time every variant beside the plain loop, ``repeats`` times."""
    plain = workload.make().take
    runs = {name: (enter, workload.make().take) for name, enter in variants().items()}
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name, (enter, take) in runs.items():
            if turn % 2:
                spent, once = _timed(enter, take, workload.steps)
                base, _ = _timed(contextlib.nullcontext, plain, workload.steps)
            else:
                base, _ = _timed(contextlib.nullcontext, plain, workload.steps)
                spent, once = _timed(enter, take, workload.steps)
            seconds[name].append((spent, base, once))
    return [_cost(workload, name, rows) for name, rows in seconds.items()]


def _timed(
    enter: Callable[[], AbstractContextManager[Any]], take: Callable[[], None], count: int
) -> tuple[float, float]:
    """Return the seconds of ``count`` steps inside of the context, and those of entering and leaving it.

    The first steps after entering fill caches, torch's and the recording's: they count as entering.
    """
    start = time.process_time()
    with enter():
        for _ in range(WARM_UP):
            take()
        begin = time.process_time()
        for _ in range(count):
            take()
        end = time.process_time()
    step = (end - begin) / count
    return end - begin, (begin - start) + (time.process_time() - end) - WARM_UP * step


def _cost(workload: Workload, name: str, rows: Sequence[tuple[float, float, float]]) -> Cost:
    low, ratio, high = statistics.quantiles([spent / base for spent, base, _ in rows], n=4, method="inclusive")
    level = int(name.split()[1]) if name.startswith("level") else -1
    bound = BOUNDS.get(level, {}).get(workload.name)
    spent, once = (1000 * statistics.median(row[column] for row in rows) for column in (0, 2))
    return Cost(workload.name, name, spent / workload.steps, ratio, low, high, once, bound)


def differing(workload: Workload, level: int, steps: int = COMPARED_STEPS) -> list[str]:
    """Return the gradients and parameters that recording at ``level`` changes in ``steps`` steps, by step and name.

    Every bit counts. Both runs start from the same seed, so a recording that drew a random number would show too.
    """
    expected, found = _states(workload, contextlib.nullcontext(), steps), _states(workload, record(level), steps)
    return [name for name, value in expected.items() if not torch.equal(value, found[name])]


def _states(workload: Workload, context: AbstractContextManager[Any], steps: int) -> Mapping[str, torch.Tensor]:
    states = {}
    with context:
        step = workload.make()
        for number in range(steps):
            step.take()
            for name, parameter in step.model.named_parameters():
                assert parameter.grad is not None
                states[f"step {number + 1}: gradient of {name}"] = parameter.grad.detach().clone()
                states[f"step {number + 1}: {name}"] = parameter.detach().clone()
    return states


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 1 when a bound is missed or a gradient changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="rounds, two or more (else 15)")
    parser.add_argument("--report", action="store_true", help="exit with 0 although a bound is missed")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where overhead.md and .json go")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    changed = {level: [name for each in WORKLOADS for name in differing(each, level)] for level in LEVELS}
    costs = [cost for each in WORKLOADS for cost in measure(each, options.repeats)]
    text = report(costs, changed, options.repeats)
    print(text, end="")
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "overhead.md").write_text(text, encoding="utf-8")
    made = {"machine": machine(), "repeats": options.repeats, "changed": changed, "costs": [*map(asdict, costs)]}
    (options.results / "overhead.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    missed = any(not cost.kept for cost in costs)
    return int(any(changed.values()) or (missed and not options.report))


def machine() -> str:
    """Say what this was measured on."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{system}, {os.cpu_count()} processors{load}"


def report(costs: Sequence[Cost], changed: Mapping[int, Sequence[str]], repeats: int) -> str:
    """Return the result in Markdown."""
    rows = [
        [
            "variant",
            *(f"{name}, {what}" for name in _names(costs) for what in ("ms per step", "ratio", "bound", "once, ms")),
        ]
    ]
    for variant in dict.fromkeys(cost.variant for cost in costs):
        row = [variant]
        for cost in costs:
            if cost.variant == variant:
                bound = "" if cost.bound is None else f"≤ {cost.bound:.2f} {'ok' if cost.kept else 'MISSED'}"
                ratio = f"{cost.ratio:.3f} ({cost.low:.2f}-{cost.high:.2f})"
                row += [f"{cost.milliseconds:.2f}", ratio, bound, f"{max(0.0, cost.once):.1f}"]
        rows.append(row)
    same = [f"level {level}: {len(names)} changed" for level, names in changed.items() if names]
    return "\n".join(
        [
            "# What recording costs",
            "",
            f"{machine()}; one thread, processor time, medians of {repeats} rounds (quartiles in brackets).",
            "",
            table(rows),
            "",
            f"Gradients and parameters of {COMPARED_STEPS} steps, bit by bit against the plain loop: "
            + ("; ".join(same) if same else "all the same at every level")
            + ".",
            "",
        ]
    )


def _names(costs: Sequence[Cost]) -> list[str]:
    return list(dict.fromkeys(cost.workload for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
