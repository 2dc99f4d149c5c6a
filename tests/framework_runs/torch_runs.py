"""torch itself: custom functions, optimizers, wrappers of modules, and what runs a function that it is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import forward_ad
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, update_bn

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

# -- methods that torch calls --------------------------------------------------------------------------------------


class Double(torch.autograd.Function):
    """Twice the input."""

    @staticmethod
    def forward(value: torch.Tensor) -> torch.Tensor:
        return value * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * 2

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> torch.Tensor:
        return tangents[0] * 2

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: torch.Tensor) -> Any:
        return inputs[0] * 2, in_dims[0]


class OldDouble(torch.autograd.Function):
    """Twice the input, as written before there was `setup_context`; `vjp` is another name for `backward`."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value * 2

    @staticmethod
    def vjp(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * 2


def function(watch: Watch, cls: type[torch.autograd.Function], create_graph: bool) -> object:
    """Apply a function and go backward."""
    watched, value = watch.watched(cls, inherited=False), torch.ones(1, requires_grad=True)
    with watch.caller():
        result = watched.apply(value)
        with torch.enable_grad():
            recorded = watched.apply(value)
        torch.autograd.grad(recorded, value, create_graph=create_graph)
    return result


def forward_mode(watch: Watch) -> object:
    """Apply a function to a number with a tangent."""
    watched = watch.watched(Double, inherited=False)
    with watch.caller(), forward_ad.dual_level():
        return watched.apply(forward_ad.make_dual(torch.ones(1), torch.ones(1)))


def batched(watch: Watch) -> object:
    """Apply a function over a dimension."""
    watched = watch.watched(Double, inherited=False)
    with watch.caller():
        return torch.func.vmap(watched.apply)(torch.ones(2))


SCENARIOS = (
    functools.partial(function, cls=Double, create_graph=False),
    functools.partial(function, cls=Double, create_graph=True),
    functools.partial(function, cls=OldDouble, create_graph=False),
    functools.partial(function, cls=OldDouble, create_graph=True),
    forward_mode,
    batched,
)

# -- optimizers and gradients --------------------------------------------------------------------------------------


def scale(trial: Trial) -> None:
    trial.call(torch.amp.GradScaler("cpu").scale, trial.loss("outputs"))


def optimizer(trial: Trial, cls: Any, method: str, **options: Any) -> None:
    made = cls(trial.net().parameters(), lr=0.1)
    trial.given("self", made, made.param_groups[0]["params"])
    trial.call(functools.partial(getattr(made, method), **options))


def batch_norm(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    trial.call(update_bn, [torch.ones(2, 2)], trial.module("model", model))


def update_parameters(trial: Trial) -> None:
    net = trial.net("model")
    trial.call(trial.module("self", AveragedModel(net)).update_parameters, net)


def clip(trial: Trial, function: Callable[..., Any]) -> None:
    trial.call(function, list(trial.net("parameters").parameters()), 0.5)


def initialize(trial: Trial, name: str) -> None:
    trial.call(getattr(nn.init, name), trial.parameter("tensor"))


def load_state_dict(trial: Trial) -> None:
    trial.call(trial.net("self").load_state_dict, nn.Linear(2, 2).state_dict())


# -- what stands for the module inside -----------------------------------------------------------------------------


@contextmanager
def process_group() -> Iterator[None]:
    """Be a process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def wrap(trial: Trial, wrapper: Callable[..., Any], module: nn.Module | None = None, name: str = "module") -> None:
    trial.call(wrapper, trial.given(name, trial.prepared(module or nn.Linear(2, 2))))


def wrap_in_group(trial: Trial, wrapper: Callable[..., Any]) -> None:
    with process_group():
        wrap(trial, wrapper)


# -- what runs a function ------------------------------------------------------------------------------------------


def cube(value: torch.Tensor) -> torch.Tensor:
    """Return the sum of cubes."""
    return (value**3).sum()


ONES = torch.ones(2)


def checkpoint(trial: Trial) -> None:
    value = torch.ones(2, requires_grad=True)
    trial.call(torch.utils.checkpoint.checkpoint, trial.function("function", cube), value, use_reentrant=False)


def checkpoint_sequential(trial: Trial) -> None:
    functions = trial.given("functions", [trial.net("functions"), trial.net("functions")])
    value = torch.ones(1, 2, requires_grad=True)
    trial.call(torch.utils.checkpoint.checkpoint_sequential, functions, 2, value, use_reentrant=False)


def functional_call(trial: Trial) -> None:
    net = trial.net("module")
    trial.call(torch.func.functional_call, net, dict(nn.Linear(2, 2).named_parameters()), torch.ones(1, 2))


def transform(trial: Trial, made: Callable[..., Any], value: torch.Tensor = ONES) -> None:
    trial.use(trial.call(made, trial.function("func", cube)), value)


def apply(trial: Trial, function: Callable[..., Any], *arguments: Any) -> None:
    trial.call(function, trial.function("func", cube), *arguments)


def pull_back(trial: Trial) -> None:
    _, pulled = trial.call(torch.func.vjp, trial.function("func", cube), ONES)
    trial.use(pulled, torch.ones(()))


def wraps(wrapper: Callable[..., Any], *modules: nn.Module, name: str = "module") -> tuple[Any, ...]:
    """Return the probes of a wrapper around a layer, or around each of the modules."""
    return tuple(functools.partial(wrap, wrapper=wrapper, module=each, name=name) for each in modules or (None,))


FUNCTIONAL = torch.autograd.functional
PARAMETRIZATIONS = nn.utils.parametrizations
CALLS: Probes = {
    "torch.amp.GradScaler.scale": (scale,),
    "torch.optim.*.step": tuple(
        functools.partial(optimizer, cls=cls, method="step") for cls in (torch.optim.SGD, torch.optim.AdamW)
    ),
    "torch.optim.*.zero_grad": tuple(
        functools.partial(optimizer, cls=torch.optim.SGD, method="zero_grad", set_to_none=each)
        for each in (True, False)
    ),
    "torch.optim.swa_utils.update_bn": (batch_norm,),
    "torch.optim.swa_utils.AveragedModel.update_parameters": (update_parameters,),
    "torch.nn.utils.clip_grad_norm_": (functools.partial(clip, function=nn.utils.clip_grad_norm_),),
    "torch.nn.utils.clip_grad_value_": (functools.partial(clip, function=nn.utils.clip_grad_value_),),
    "torch.nn.init.*": (
        *(functools.partial(initialize, name=name) for name in ("kaiming_uniform_", "xavier_normal_", "ones_")),
        *(functools.partial(initialize, name=name) for name in ("normal_", "uniform_", "zeros_", "trunc_normal_")),
    ),
    "torch.nn.Module.load_state_dict": (load_state_dict,),
    "torch.nn.DataParallel": wraps(nn.DataParallel),
    "torch.nn.parallel.DistributedDataParallel": (functools.partial(wrap_in_group, wrapper=DistributedDataParallel),),
    "torch.nn.SyncBatchNorm.convert_sync_batchnorm": wraps(
        nn.SyncBatchNorm.convert_sync_batchnorm, nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2))
    ),
    "torch.nn.utils.parametrizations.weight_norm": wraps(PARAMETRIZATIONS.weight_norm),
    "torch.nn.utils.parametrizations.spectral_norm": wraps(PARAMETRIZATIONS.spectral_norm),
    "torch.nn.utils.weight_norm": wraps(nn.utils.weight_norm),
    "torch.nn.utils.spectral_norm": wraps(nn.utils.spectral_norm),
    "torch.compile": wraps(torch.compile, name="model"),
    "torch.jit.script": wraps(torch.jit.script, name="obj"),
    "torch.fx.symbolic_trace": wraps(torch.fx.symbolic_trace, name="root"),
    "torch.utils.checkpoint.checkpoint": (checkpoint,),
    "torch.utils.checkpoint.checkpoint_sequential": (checkpoint_sequential,),
    "torch.func.functional_call": (functional_call,),
    "torch.func.grad": (functools.partial(transform, made=torch.func.grad),),
    "torch.func.grad_and_value": (functools.partial(transform, made=torch.func.grad_and_value),),
    "torch.func.jacrev": (functools.partial(transform, made=torch.func.jacrev),),
    "torch.func.jacfwd": (functools.partial(transform, made=torch.func.jacfwd),),
    "torch.func.hessian": (functools.partial(transform, made=torch.func.hessian),),
    "torch.func.vmap": (functools.partial(transform, made=torch.func.vmap, value=torch.ones(2, 2)),),
    "torch.func.vjp": (pull_back,),
    "torch.func.jvp": (lambda trial: apply(trial, torch.func.jvp, (ONES,), (ONES,)),),
    "torch.func.linearize": (lambda trial: apply(trial, torch.func.linearize, ONES),),
    "torch.autograd.functional.jacobian": (lambda trial: apply(trial, FUNCTIONAL.jacobian, ONES),),
    "torch.autograd.functional.hessian": (lambda trial: apply(trial, FUNCTIONAL.hessian, ONES),),
    "torch.autograd.functional.vjp": (lambda trial: apply(trial, FUNCTIONAL.vjp, ONES),),
    "torch.autograd.functional.jvp": (lambda trial: apply(trial, FUNCTIONAL.jvp, ONES, ONES),),
    "torch.autograd.functional.vhp": (lambda trial: apply(trial, FUNCTIONAL.vhp, ONES, ONES),),
    "torch.autograd.functional.hvp": (lambda trial: apply(trial, FUNCTIONAL.hvp, ONES, ONES),),
}
