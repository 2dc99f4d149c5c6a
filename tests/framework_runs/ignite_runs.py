"""Ignite: engines, the supervised trainer and evaluator, and metrics attached to one."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Metric

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

BATCHES = [(torch.ones(2, 2), torch.zeros(2, 2)) for _ in range(3)]


class Mean(Metric):
    """The mean of the outputs, with the graph that they have."""

    total: Any

    def reset(self) -> None:
        self.total = torch.zeros(1)
        super().reset()

    def update(self, output: Any) -> None:
        self.total = self.total + output.detach().mean()

    def compute(self) -> Any:
        return self.total * 1


def metric(watch: Watch) -> object:
    """Attach a metric to an engine that leaves modes alone."""
    net = watch.module(torch.nn.Linear(2, 2))
    engine = Engine(lambda engine, batch: net(batch[0]))
    with watch.caller():
        watch.watched(Mean)().attach(engine, "mean")
        return [engine.run(BATCHES).metrics for _ in range(3)]


SCENARIOS = (metric,)

# -- calls ---------------------------------------------------------------------------------------------------------


def engine(trial: Trial) -> None:
    process = trial.function("process_function", lambda engine, batch: trial.net()(batch[0]).sum())
    made = trial.call(Engine, process)
    trial.use(lambda: made.run(BATCHES).output)


def engine_run(trial: Trial) -> None:
    trial.call(Engine(lambda engine, batch: None).run, BATCHES)


def trainer(trial: Trial) -> None:
    model = trial.net("model")
    optimizer = trial.optimizer("optimizer", model.parameters())
    loss = trial.function("loss_fn", torch.nn.functional.mse_loss)
    trial.use(trial.call(create_supervised_trainer, model, optimizer, loss).run, BATCHES)


def evaluator(trial: Trial) -> None:
    made = trial.call(
        create_supervised_evaluator,
        trial.net("model"),
        prepare_batch=trial.function("prepare_batch", lambda batch, device, non_blocking: (batch[0] * 1, batch[1] * 1)),
        model_transform=trial.function("model_transform", lambda output: output * 1),
        output_transform=trial.function("output_transform", lambda x, y, predicted: predicted.sum()),
    )
    trial.use(lambda: made.run(BATCHES).output)


CALLS: Probes = {
    "ignite.engine.Engine": (engine,),
    "ignite.engine.Engine.run": (engine_run,),
    "ignite.engine.create_supervised_trainer": (trainer,),
    "ignite.engine.create_supervised_evaluator": (evaluator,),
}
