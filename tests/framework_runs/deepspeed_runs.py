"""DeepSpeed: an engine and a pipeline of one process, without ZeRO and without kernels of its own."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.pipe import PipelineModule
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from torch import nn

from framework_runs.trial import Probes, Trial

SCENARIOS = ()
os.environ.update({"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"})
# It would compile an extension.
importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]


# DeepSpeed remembers the first group of processes: there is a single one.
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
atexit.register(dist.destroy_process_group)


def engine(trial: Trial, pipeline: bool = False) -> Any:
    """Return an engine, whose module is called ``self``."""
    layer = nn.Linear(2, 2)
    net = PipelineModule([layer], num_stages=1, loss_fn=nn.functional.mse_loss) if pipeline else layer
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    config = {"train_batch_size": 1}
    made, *_ = deepspeed.initialize(model=net, optimizer=optimizer, config=config, dist_init_required=False)
    trial.given("self", trial.prepared(net), net.parameters())
    return made


def backward(trial: Trial) -> None:
    trial.call(engine(trial).backward, trial.loss("loss"))


def call(trial: Trial, method: str) -> None:
    trial.call(getattr(engine(trial), method))


def batch(trial: Trial, method: str) -> None:
    made = engine(trial, pipeline=True)
    # Training insists on gradients.
    trial.call(torch.enable_grad()(getattr(made, method)), iter([(torch.ones(1, 2), torch.ones(1, 2))]))


def scaled_backward(trial: Trial) -> None:
    trial.call(LossScaler(scale=2).backward, trial.loss("loss"))


CALLS: Probes = {
    "deepspeed.DeepSpeedEngine.backward": (backward,),
    **{
        f"deepspeed.DeepSpeedEngine.{method}": (functools.partial(call, method=method),)
        for method in ("step", "zero_grad", "eval", "train")
    },
    "deepspeed.PipelineEngine.train_batch": (functools.partial(batch, method="train_batch"),),
    "deepspeed.PipelineEngine.eval_batch": (functools.partial(batch, method="eval_batch"),),
    "deepspeed.runtime.fp16.loss_scaler.LossScalerBase.backward": (scaled_backward,),
}
