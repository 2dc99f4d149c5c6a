"""Every row of the contracts against the real framework: what small runs show must be what the row says.

The frameworks come with the extra ``frameworks``, which `make test` installs; without them these tests fail. Each runs
in a process of its own, see `framework_runs`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from filelock import FileLock
from framework_runs.comparing import call_differences, hook_differences
from framework_runs.contracts import contracts
from framework_runs.seen import Seen, read

from gradlint.torch_model.frameworks import Call, Hook

pytestmark = pytest.mark.torch

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent

NOT_INSTALLED = {
    "apex": "is built from source, with a CUDA compiler",
    "coqui": "brings TensorBoard and gRPC for a single row",
    "dgl": "is compiled for one release of torch, and its last one is older than the torch of the others",
    "fairseq": "compiles extensions, and its last release cannot be imported on Python 3.11",
    "openmmlab": "brings OpenCV, and mmdetection and mmsegmentation compile extensions",
}
if sys.version_info < (3, 11):
    NOT_INSTALLED |= dict.fromkeys(("sentence_transformers", "transformers"), "needs Python 3.11")
"""Contracts of frameworks that the extra does not hold, and why."""

UNOBSERVED = {
    "lightning": {
        "lightning.pytorch.LightningModule.validation_epoch_end": "removed in 2.0",
        "lightning.pytorch.LightningModule.test_epoch_end": "removed in 2.0",
    },
    "torch": {"torch.distributed.fsdp.FullyShardedDataParallel": "needs an accelerator"},
    "transformers": {
        "transformers.GenerationMixin._reorder_cache": "removed in 5",
        "transformers.LogitsWarper.__call__": "removed in 5",
        "transformers.PreTrainedModel._reorder_cache": "removed in 5",
        "transformers.Seq2SeqTrainer.create_optimizer_and_scheduler": "called before 5 only",
        "transformers.Trainer.create_optimizer_and_scheduler": "called before 5 only",
    },
}
"""Methods and calls in rows that no run can show, and why."""

RUN = {name: each for name, each in contracts().items() if name not in NOT_INSTALLED}
HOOKS = [
    pytest.param(name, row, cls, method, id=f"{cls}.{method}")
    for name, framework in RUN.items()
    for row in framework.hook
    for cls in row.classes
    for method in row.methods
]
CALLS = [
    pytest.param(name, row, call, id=call) for name, each in RUN.items() for row in each.call for call in row.names
]
LAYERS = [pytest.param(name, id=name) for each in RUN.values() for row in each.layers for name in row.names]
GIVEN = {
    **dict.fromkeys(("in_channels", "hidden_channels", "out_channels", "channels", "filter_size"), 4),
    **dict.fromkeys(("edge_dim", "edge_attr_emb_dim", "edge_type_emb_dim"), 4),
    **dict.fromkeys(("K", "dim", "heads", "k", "kernel_size", "num_layers", "num_relations", "num_types"), 2),
    **dict.fromkeys(("num_edge_types", "num_node_types"), 2),
    **dict.fromkeys(("alpha", "phi"), 0.1),
    "aggregators": ["mean"],
    "deg": torch.tensor([1, 2, 1]),
    "first_aggr": True,
    "metadata": (["node"], [("node", "to", "node")]),
    "nn": torch.nn.Linear(4, 4),
    "scalers": ["identity"],
}
"""What constructors of layers that have no default for it are given, by parameter."""


Look = Callable[[str], Seen]


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Run a framework once for all workers of the session, and return what was seen."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    @cache
    def look(name: str) -> Seen:
        path, errors = folder / f"{name}.seen", folder / f"{name}.errors"
        with FileLock(folder / f"{name}.lock"):
            if not errors.exists():
                errors.write_text(run(name, path), encoding="utf-8")
        message = errors.read_text(encoding="utf-8")
        assert not message, f"{name} cannot be run, `make test` installs it:\n{message}"
        return read(path.read_bytes())

    return look


def run(name: str, path: Path) -> str:
    """Run a framework, offline, in a process of its own; returns what went wrong, files left behind included."""
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        command = [sys.executable, "-m", "framework_runs", name, str(path)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        left = "".join(f"{file} was left behind\n" for file in Path(folder).iterdir())
    return left + (done.stderr if done.returncode else "")


@pytest.mark.parametrize(("framework", "row", "cls", "method"), HOOKS)
def test_a_method_is_called_as_its_row_says(seen: Look, framework: str, row: Hook, cls: str, method: str) -> None:
    found, name = seen(framework), f"{cls}.{method}"
    others = {f"{other}.{method}" for other in row.classes} - found.absent
    if name in UNOBSERVED.get(framework, {}):
        assert name not in found.hooks, "this can be observed"
    elif name in found.hooks:
        assert hook_differences(row, found.hooks[name]) == []
    else:
        assert name in found.absent, "no run leads to a call of this"
        assert others, "there is no such method: is the row wrong, or is it about another release?"


@pytest.mark.parametrize(("framework", "row", "name"), CALLS)
def test_a_call_does_what_its_row_says(seen: Look, framework: str, row: Call, name: str) -> None:
    calls = seen(framework).calls
    if name in UNOBSERVED.get(framework, {}):
        assert name not in calls, "this can be observed"
    else:
        assert name in calls, "nothing makes this call"
        assert call_differences(row, calls[name]) == []


@pytest.mark.parametrize("name", LAYERS)
def test_an_instance_of_a_layer_has_parameters(name: str) -> None:
    module, _, cls = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a framework itself uses is not ours to mend
        layer = getattr(importlib.import_module(module), cls)
    known = inspect.signature(layer.__init__).parameters.values()
    named = [one.name for one in known if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    made = layer(**{each: GIVEN[each] for each in named if each != "self"})
    assert isinstance(made, torch.nn.Module)
    assert list(made.parameters())


@pytest.mark.parametrize("framework", RUN)
def test_a_call_leaves_the_grad_mode_of_its_caller(seen: Look, framework: str) -> None:
    leaking = {name for name, call in seen(framework).calls.items() if not call.restores}
    # loops/fit_loop.py: reset() switches gradients on and never back.
    assert leaking == {"lightning.pytorch.Trainer.fit"} & seen(framework).calls.keys()


def test_what_is_not_observed_stands_in_a_row() -> None:
    rows = {each.id for each in (*HOOKS, *CALLS)}
    assert {name for names in UNOBSERVED.values() for name in names} <= rows


@pytest.mark.parametrize("framework", NOT_INSTALLED)
def test_a_framework_that_is_not_run_is_not_installed(framework: str) -> None:
    packages = contracts()[framework].packages
    assert [package for package in packages if importlib.util.find_spec(package)] == []


def test_the_contracts_are_of_the_releases_that_are_run() -> None:
    """The versions in the contracts are those that the extra and the Makefile pin."""
    pins = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "Makefile"))
    assert [each.version for each in RUN.values() if each.version.replace(" ", "==") not in pins] == []


def test_a_reentrant_checkpoint_runs_without_gradients_and_again_with_them() -> None:
    """Rows say what a checkpoint's function sees in the forward of the other, recommended kind."""
    modes = []

    def function(value: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        return value * 2

    value = torch.ones(1, requires_grad=True)
    torch.utils.checkpoint.checkpoint(function, value, use_reentrant=True).backward()
    assert modes == [False, True]
    assert value.grad is not None and value.grad.item() == 2
