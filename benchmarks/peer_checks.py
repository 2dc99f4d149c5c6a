"""Run one peer on every bug and on the control. Runs with the peers' interpreter: ``python peer_checks.py TOOL``.

Prints one JSON object per line: the case, what the tool reports, and what ended the run if it was something else.
Every tool is told the same: which submodules are meant to be frozen, and that all others are meant to learn. All its
other settings are its defaults.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from cases import BUGS, cases, frozen


@dataclass
class Reported:
    """What a tool says about one program.

    ``messages`` are its own, by the name of the check. ``trace`` is all text that came with them, tracebacks
    included. ``ended`` is the error, not of the tool's making, that ended the run. ``warned`` are warnings that point
    at the program.
    """

    messages: dict[str, str] = field(default_factory=dict)
    trace: str = ""
    ended: str = ""
    warned: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def check(self, name: str, *errors: type[BaseException], begins: str = "") -> Iterator[None]:
        """Take ``errors`` whose text begins as given for a message of the check ``name``."""
        try:
            yield
        except errors as error:
            if not str(error).startswith(begins):
                raise
            self.add(name, str(error), traceback.format_exc())

    def add(self, name: str, message: str, trace: str = "") -> None:
        """Note a message."""
        self.messages[name] = message
        self.trace += f"{trace or message}\n"


def main(tool: str) -> None:
    """Run ``tool`` on every case."""
    torch.set_num_threads(1)
    for case in cases(BUGS):
        reported = Reported()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                TOOLS[tool](case.load(), reported)
            except Exception as error:
                reported.ended = f"{type(error).__name__}: {error}"
        told = [f"{each.lineno}: {each.message}" for each in warned if Path(each.filename) == case.path]
        reported.warned = list(dict.fromkeys(told))
        torch.set_grad_enabled(True)
        gc.collect()
        print(json.dumps({"case": case.name, **asdict(reported)}), flush=True)


def plain(module: ModuleType, reported: Reported) -> None:
    """Run the program as it is."""
    with reported.check("error", RuntimeError):
        module.run(module.make())


def anomaly(module: ModuleType, reported: Reported) -> None:
    """Run the program under torch's anomaly detection."""
    with reported.check("error", RuntimeError), torch.autograd.detect_anomaly():
        module.run(module.make())


def torchtest(module: ModuleType, reported: Reported) -> None:
    """One step of torchtest's own: the one group of parameters must change, the other must not."""
    from torchtest import torchtest as tool

    model = module.make()
    learning: list[tuple[str, Any]] = []
    still: list[tuple[str, Any]] = []
    for name, parameter in model.named_parameters():
        (still if name.split(".")[0] in frozen(module) else learning).append((name, parameter))
    with reported.check("variables", tool.VariablesChangeException):
        tool.test_suite(
            model,
            module.loss_fn,
            module.make_optimizer(model),
            module.make_batches()[0],
            train_vars=learning,
            non_train_vars=still or None,
        )


def torcheck(module: ModuleType, reported: Reported) -> None:
    """Run the program with torcheck watching the optimizer's steps."""
    from torcheck.registry import Registry

    watch = Registry()
    model = module.make()
    optimizer = module.make_optimizer(model)
    watch.register(optimizer)
    for name, child in model.named_children():
        if name in frozen(module):
            watch.add_module_unchanging_check(child, module_name=name)
        else:
            watch.add_module_changing_check(child, module_name=name)
    module.make_optimizer = lambda model: optimizer  # type: ignore[attr-defined]
    with reported.check("parameters", RuntimeError, begins="The following errors are detected"):
        module.run(model)


def torchtest2(module: ModuleType, reported: Reported) -> None:
    """The report of torchtest2's `check_model`; failures and warnings count."""
    import torchtest2 as tool

    model = module.make()
    inputs, labels = module.make_batches()[0]
    report = tool.check_model(
        model,
        inputs,
        labels,
        loss_fn=module.loss_fn,
        optimizer=module.make_optimizer(model),
        frozen=frozen(module),
    )
    for result in (*report.failures, *report.warnings):
        reported.add(result.name, str(result))


def pytest_torch(module: ModuleType, reported: Reported) -> None:
    """The checks of pytest-torch's `ModelSuite` for inference, training and frozen parameters, each on a new model."""
    import pytest_torch as tool

    inputs, labels = module.make_batches()[0]
    patterns = [f"{name}.*" for name in frozen(module)]

    def loss(outputs: Any) -> Any:
        return module.loss_fn(outputs, labels)

    checks: dict[str, Callable[[Any], object]] = {
        "inference_contract": lambda model: tool.check_inference_contract(model.eval(), inputs).raise_if_failed(),
        "gradients_finite": lambda model: tool.assert_gradients_finite(model, inputs, loss),
        "receive_grad": lambda model: tool.assert_all_params_receive_grad(model, inputs, loss, ignore=patterns),
        "loss_decreases": lambda model: tool.assert_loss_decreases(model, inputs, loss),
        "overfits_one_batch": lambda model: tool.assert_overfits_one_batch(model, inputs, loss),
    }
    if patterns:
        checks["frozen"] = lambda model: tool.assert_frozen(model, inputs, loss, patterns)
    for name, check in checks.items():
        with reported.check(name, AssertionError):
            check(module.make())


def pytest_torch_leak(module: ModuleType, reported: Reported) -> None:
    """The program as a test under pytest-torch's marker `torch_memory_leak`, with what the marker does at run time."""
    from _pytest.outcomes import Failed
    from pytest_torch import markers

    class NoItem:
        """A test that is not bound to a device."""

        callspec = None

    model = module.make()
    with reported.check("memory_leak", Failed):
        markers._run_leak_check(NoItem(), lambda: module.run(model), 5)


TOOLS: dict[str, Callable[[ModuleType, Reported], None]] = {
    "torch": plain,
    "detect_anomaly": anomaly,
    "torchtest": torchtest,
    "torcheck": torcheck,
    "torchtest2": torchtest2,
    "pytest-torch": pytest_torch,
    "torch_memory_leak": pytest_torch_leak,
}

if __name__ == "__main__":
    main(sys.argv[1])
