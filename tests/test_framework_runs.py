"""What watching a run tells, on a framework made up for this."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from framework_runs.comparing import call_differences, hook_differences
from framework_runs.contracts import Target
from framework_runs.seen import SeenCall, SeenHook
from framework_runs.trial import Trial, add
from framework_runs.watching import Watch, observe
from torch import nn

from gradlint.torch_model.frameworks import Call, Hook, Runs

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Spare the collections of a run what was there before."""
    gc.freeze()
    yield
    gc.unfreeze()


class Task(nn.Module):
    """What the made-up framework calls ``step`` of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.kept: list[torch.Tensor] = []

    def step(self) -> Any:
        return self.layer(torch.ones(1)).sum()


def three_steps(
    task: Any,
    then: Callable[[Any], object] = lambda loss: None,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Be a framework: call three steps, and do something with what they return."""
    for _ in range(3):
        with within():
            then(task.step())


def seen(framework: Callable[[Any], object]) -> SeenHook:
    """Return what a framework shows that is given a task."""

    def scenario(watch: Watch) -> object:
        task = watch.module(watch.watched(Task)())
        with watch.caller():
            return framework(task)

    return observe({Task: {"step": Target(("Task.step",), ("self",))}}, scenario)["Task.step"]


@pytest.mark.parametrize(
    ("within", "word"),
    [
        (nullcontext, "caller"),
        (torch.no_grad, "off"),
        (torch.enable_grad, "on"),
        (torch.inference_mode, "inference"),
    ],
)
def test_a_grad_mode_is_the_frameworks_or_its_callers(within: Any, word: str) -> None:
    assert seen(lambda task: three_steps(task, within=within)).grad == {word}


def test_all_modes_of_several_calls_are_seen() -> None:
    def framework(task: Any) -> None:
        three_steps(task.train())
        three_steps(task.eval(), within=torch.no_grad)

    found = seen(framework)
    assert (found.grad, found.module) == ({"caller", "off"}, {"train", "eval"})


@pytest.mark.parametrize(
    ("framework", "word"),
    [
        (three_steps, "ignored"),
        (lambda task: three_steps(task, lambda loss: loss.shape), "ignored"),
        (lambda task: three_steps(task, lambda loss: loss.detach()), "read"),
        (lambda task: three_steps(task, lambda loss: setattr(task, "last", loss)), "ignored"),
        (lambda task: three_steps(task, task.kept.append), "kept"),
        (lambda task: [task.step() for _ in range(3)], "returned"),
        (lambda task: three_steps(task, lambda loss: loss.backward()), "walked"),
    ],
    ids=["dropped", "shape", "detached", "forgotten", "kept", "returned", "walked"],
)
def test_what_becomes_of_results(framework: Any, word: str) -> None:
    assert seen(framework).result == word


def test_a_sum_of_losses_keeps_their_graphs() -> None:
    def framework(task: Any) -> None:
        total = torch.zeros(())
        for _ in range(3):
            total = total + task.step()

    assert seen(framework).result == "kept"


@pytest.mark.parametrize("clears", [True, False])
@pytest.mark.parametrize("steps", [True, False])
def test_who_clears_and_steps(clears: bool, steps: bool) -> None:
    def then(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        if clears:
            optimizer.zero_grad()
        loss.backward()
        if steps:
            optimizer.step()

    def framework(task: Any) -> None:
        optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
        three_steps(task, lambda loss: then(loss, optimizer))

    found = seen(framework)
    assert (found.clears, found.steps) == (clears, steps)


def test_a_step_inside_the_method_is_not_the_frameworks() -> None:
    class Own(Task):
        def step(self) -> None:
            self.layer(torch.ones(1)).sum().backward()
            torch.optim.SGD(self.parameters(), lr=0.1).step()
            self.zero_grad()

    found = observe(
        {Task: {"step": Target(("Task.step",), ("self",))}},
        lambda watch: three_steps(watch.module(watch.watched(Own)())),
    )["Task.step"]
    assert (found.clears, found.steps) == (False, False)


def test_a_framework_that_does_otherwise_for_another_caller_is_an_error() -> None:
    with pytest.raises(AssertionError, match="one caller gets a call of"):
        seen(lambda task: three_steps(task) if torch.is_grad_enabled() else task.step())


def test_differences_from_a_row_are_named() -> None:
    row = Hook(classes=("Task",), methods=("step",), grad=("off",), module="eval", result="read", steps=True, source="")
    assert hook_differences(row, seen(lambda task: three_steps(task, lambda loss: loss.backward()))) == [
        "grad: the row says ['off'], seen was ['caller']",
        "module: the row says eval, seen was ['caller']",
        "result: the row says read, seen was walked",
        "steps: the row says so, it was not seen",
    ]


def call(function: Callable[[Trial], object]) -> SeenCall:
    """Return what a call shows."""
    found, trials = SeenCall(parameters=("model", "loss")), (Trial(grad=True), Trial(grad=False))
    for trial in trials:
        function(trial)
    add(found, *trials)
    return found


def everything(trial: Trial) -> None:
    """Call something that does all there is to tell."""
    model, loss = trial.net("model"), trial.loss("loss")
    optimizer = trial.optimizer("optimizer", model.parameters())

    def work(model: Any, loss: torch.Tensor) -> Any:
        model.eval()
        with torch.no_grad():
            model(torch.ones(1, 2))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return model, 1.0

    trial.call(work, model, loss)


def test_a_call_tells_what_it_did() -> None:
    found = call(everything)
    row = Call(
        names=("work",),
        parameters=("model", "loss", "optimizer"),
        backward="loss",
        steps="optimizer",
        clears="optimizer",
        evals="model",
        guards=True,
        returns=("model", "a number"),
        runs=(Runs(argument="model", grad=("off",), module="eval"),),
        source="",
    )
    assert call_differences(row, found) == []
    assert call_differences(Call(names=("work",), returns=("off",), source=""), found) == [
        "backward: the row says [], seen was ['loss']",
        "steps: the row says [], seen was ['optimizer']",
        "clears: the row says [], seen was ['optimizer']",
        "evals: the row says [], seen was ['model']",
        "guards: the row does not say so, but everything ran with gradients off",
        "returns: the row says ('off',), seen was [], in parts [['a module', 'model'], ['a number']]",
    ]


def test_a_call_that_records_a_graph_does_not_guard() -> None:
    row = Call(names=("work",), guards=True, source="")
    recording = call(lambda trial: trial.call(trial.net("model"), torch.ones(1, 2)))
    assert call_differences(row, recording) == ["guards: a graph was recorded"]
    assert call_differences(row, call(lambda trial: trial.call(lambda: None))) == ["guards: no parameter was used"]


def test_a_function_that_is_run_later() -> None:
    def probe(trial: Trial) -> None:
        function = trial.function("function", lambda: torch.ones(1))
        trial.use(trial.call(lambda function: lambda: [function(), function()], function))

    runs = (Runs(argument="function", grad=("caller",), result="returned"),)
    assert call_differences(Call(names=("work",), later=True, runs=runs, source=""), call(probe)) == []
    assert call_differences(Call(names=("work",), runs=(), source=""), call(probe)) == [
        "later: the row says False, seen was True"
    ]
