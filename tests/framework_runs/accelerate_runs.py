"""Accelerate: what the calls of an `Accelerator` do."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from framework_runs.trial import Probes, Trial

SCENARIOS = ()


def accelerator() -> Accelerator:
    """Return the accelerator of one process on the CPU."""
    return Accelerator(cpu=True)


def loader() -> DataLoader[torch.Tensor]:
    """Return two batches."""
    return DataLoader(torch.ones(4, 2), batch_size=2)


def backward(trial: Trial) -> None:
    trial.call(accelerator().backward, trial.loss("loss"))


def prepare(trial: Trial) -> None:
    net = trial.net("model")
    trial.call(accelerator().prepare, net, trial.optimizer("optimizer", net.parameters()), loader())


def prepare_alone(trial: Trial) -> None:
    trial.call(accelerator().prepare, trial.net("model"))


def prepare_model(trial: Trial) -> None:
    trial.call(accelerator().prepare_model, trial.net("model"))


def prepare_optimizer(trial: Trial) -> None:
    trial.call(accelerator().prepare_optimizer, trial.optimizer("optimizer", trial.net().parameters()))


def prepare_data_loader(trial: Trial) -> None:
    trial.call(accelerator().prepare_data_loader, trial.given("data_loader", loader()))


def unwrap_model(trial: Trial) -> None:
    ready = accelerator()
    trial.call(ready.unwrap_model, ready.prepare_model(trial.net("model")))


def gather(trial: Trial) -> None:
    trial.call(accelerator().gather, trial.loss("tensor"))


def gather_for_metrics(trial: Trial) -> None:
    trial.call(accelerator().gather_for_metrics, trial.loss("input_data"))


def pad_across_processes(trial: Trial) -> None:
    trial.call(accelerator().pad_across_processes, trial.loss("tensor"))


def clip_grad_norm(trial: Trial) -> None:
    trial.call(accelerator().clip_grad_norm_, list(trial.net("parameters").parameters()), 1.0)


def clip_grad_value(trial: Trial) -> None:
    trial.call(accelerator().clip_grad_value_, list(trial.net("parameters").parameters()), 0.5)


CALLS: Probes = {
    "accelerate.Accelerator.backward": (backward,),
    "accelerate.Accelerator.prepare": (prepare, prepare_alone),
    "accelerate.Accelerator.prepare_model": (prepare_model,),
    "accelerate.Accelerator.prepare_optimizer": (prepare_optimizer,),
    "accelerate.Accelerator.prepare_data_loader": (prepare_data_loader,),
    "accelerate.Accelerator.unwrap_model": (unwrap_model,),
    "accelerate.Accelerator.gather": (gather,),
    "accelerate.Accelerator.gather_for_metrics": (gather_for_metrics,),
    "accelerate.Accelerator.pad_across_processes": (pad_across_processes,),
    "accelerate.Accelerator.clip_grad_norm_": (clip_grad_norm,),
    "accelerate.Accelerator.clip_grad_value_": (clip_grad_value,),
}
