"""Measure what `inference_guard` costs a forward of a small transformer: two layers, width 128, 64 tokens, batch 8.

Processor time of one thread, in eval mode without gradients. Guarded and unguarded forwards take turns, in alternating
order; a ratio is the median of the ratios within one round. As the guard costs less than the noise of such a forward,
its cost is also measured on a module that does nothing, and held against the forward.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from overhead import Transformer, machine
from torch import nn

from gradlint.runtime.guard import inference_guard

BOUND = 0.01


def forwards(model: nn.Module, given: torch.Tensor, count: int) -> float:
    """Return the seconds that one of ``count`` forwards takes."""
    start = time.process_time()
    for _ in range(count):
        model(given)
    return (time.process_time() - start) / count


def measure(model: nn.Module, given: torch.Tensor, count: int, rounds: int) -> tuple[float, float, float]:
    """Return the seconds of a forward, the seconds that a guard adds and the ratio; medians of ``rounds`` rounds."""
    plain, added, ratios = [], [], []
    forwards(model, given, count)
    for turn in range(rounds):
        taken = {}
        for guarded in (turn % 2 == 0, turn % 2 == 1):
            with inference_guard(model, "raise") if guarded else contextlib.nullcontext():
                taken[guarded] = forwards(model, given, count)
        plain.append(taken[False])
        added.append(taken[True] - taken[False])
        ratios.append(taken[True] / taken[False])
    return statistics.median(plain), statistics.median(added), statistics.median(ratios)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 1 when the guard costs more than its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="rounds (else 31)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        tokens = torch.randint(1000, (8, 64))
        whole, _, ratio = measure(Transformer().eval(), tokens, 10, options.rounds)
        _, added, _ = measure(nn.Identity().eval(), tokens, 20_000, options.rounds)
    share = added / whole
    print(f"{machine()}; one thread, processor time, medians of {options.rounds} rounds")
    print(f"one forward: {1e3 * whole:.3f} ms; with the guard {ratio:.4f} times as long")
    print(f"one call of a module that does nothing: the guard adds {1e6 * added:.2f} us, {share:.4%} of that forward")
    return int(share > BOUND)


if __name__ == "__main__":
    sys.exit(main())
