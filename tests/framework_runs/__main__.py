"""``python -m framework_runs NAME FILE``: run one framework, and write what was seen to the file."""

from __future__ import annotations

import gc
import importlib
import sys
import warnings
from pathlib import Path

from framework_runs.contracts import absent, classes, contracts
from framework_runs.seen import Seen, SeenHook, write
from framework_runs.trial import observe_call
from framework_runs.watching import observe


def main(name: str, path: Path) -> None:
    """Run what there is for a framework: ``NAME_runs`` has ``SCENARIOS``, and probes of ``CALLS`` by their names."""
    warnings.simplefilter("ignore")
    runs = importlib.import_module(f"framework_runs.{name}_runs")
    contract = contracts()[name]
    rows = classes(contract)
    gc.freeze()  # what becomes of results is only told after a collection, which need not go through the imports
    seen = Seen(absent=absent(contract))
    for scenario in runs.SCENARIOS:
        for method, hook in observe(rows, scenario).items():
            seen.hooks.setdefault(method, SeenHook()).add(hook)
    for call, probes in runs.CALLS.items():
        seen.calls[call] = observe_call(call, probes)
    path.write_bytes(write(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
