"""fastai: a learner with callbacks for every event, each kind of cancelling among them, and with a metric."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import fastai.callback.core as core
import fastai.callback.progress  # noqa: F401  -- gives learners `no_bar`
import torch
from fastai.callback.hook import model_sizes
from fastai.data.core import Datasets
from fastai.learner import Learner, Metric

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch


def happens(self: Any) -> None:
    """Be told of an event."""


class Last(core.Callback):
    """Is told behind the callbacks of fastai itself, which cannot do without some events."""

    order = 60


# The base class calls the methods that there are, by the names of events.
Events = type("Events", (Last,), {name: happens for name in vars(core.event) if not name.startswith("_")})


def cancelling(event: str, error: type[BaseException]) -> type[Last]:
    """Return a callback that cancels what goes on at an event."""

    def cancel(self: Any) -> None:
        raise error

    return type("Cancelling", (Events,), {event: cancel})


CANCELLED = (
    ("after_pred", core.CancelBatchException),
    ("before_backward", core.CancelBackwardException),
    ("before_step", core.CancelStepException),
    ("before_train", core.CancelTrainException),
    ("before_validate", core.CancelValidException),
    ("before_epoch", core.CancelEpochException),
    ("before_fit", core.CancelFitException),
)


class Mean(Metric):
    """The mean of the predictions."""

    def reset(self) -> None:
        self.total = 0.0

    def accumulate(self, learn: Any) -> None:
        self.total = self.total + learn.pred.mean().item()

    @property
    def value(self) -> float:
        return self.total


def data() -> Any:
    """Return four examples, two of them for validation, in batches of one."""
    numbers = [0.0, 1.0, 2.0, 3.0]
    sets = Datasets(
        numbers,
        [[lambda number: torch.tensor([number])], [lambda number: torch.tensor([1.0])]],
        splits=[[0, 1], [2, 3]],
    )
    return sets.dataloaders(bs=1, num_workers=0, device=torch.device("cpu"))


def learner(model: torch.nn.Module, cls: Any = Learner, **options: Any) -> Any:
    """Return a learner that prints nothing."""
    return cls(data(), model, loss_func=torch.nn.functional.mse_loss, **options)


def fit(watch: Watch, callback: type[Last] = Events) -> object:
    """Train and validate for two epochs."""
    model = watch.module(torch.nn.Linear(1, 1))
    with watch.caller():
        made = learner(model, watch.watched(Learner), cbs=watch.watched(callback)(), metrics=watch.watched(Mean)())
        made.recorder.train_metrics = True
        with made.no_bar(), made.no_logging():
            made.fit(2)
    return None


SCENARIOS: tuple[Callable[[Watch], object], ...] = (
    fit,
    *(functools.partial(fit, callback=cancelling(*each)) for each in CANCELLED),
)

# -- calls ---------------------------------------------------------------------------------------------------------


def call(trial: Trial, method: str, *arguments: Any) -> None:
    made = learner(trial.module("self.model", torch.nn.Linear(1, 1)))
    with made.no_bar(), made.no_logging():
        trial.call(getattr(made, method), *arguments)


def validate(trial: Trial) -> None:
    made = learner(trial.module("self.model", torch.nn.Linear(1, 1)))
    with made.no_bar():
        trial.call(lambda: list(made.validate()))  # it returns a list of another class


def sizes(trial: Trial) -> None:
    model = trial.module("m", torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)))
    trial.call(functools.partial(model_sizes, size=(2, 2)), model)


CALLS: Probes = {
    "fastai.learner.Learner.get_preds": (lambda trial: call(trial, "get_preds"),),
    "fastai.learner.Learner.predict": (lambda trial: call(trial, "predict", 1.0),),
    "fastai.learner.Learner.validate": (validate,),
    "fastai.learner.Learner.tta": (lambda trial: call(trial, "tta"),),
    "fastai.callback.hook.model_sizes": (sizes,),
}
