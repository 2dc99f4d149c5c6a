"""Modules, optimizers and training calls of the model of torch, held against the installed torch."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler, swa_utils

from gradlint.torch_model import (
    batch_norms,
    buffer_methods,
    closure_optimizers,
    container_modules,
    fluent_methods,
    functional_losses,
    inplace_modules,
    iterator_methods,
    losses,
    mode_dependent_modules,
    mode_methods,
    module_methods,
    modules,
    moves,
    names_parameter,
    optimizers,
    parameter_free_modules,
    parameter_methods,
    parameter_names,
    recurrent_modules,
    schedulers,
    submodule_methods,
    torch_optimizers,
    trainable_modules,
)
from gradlint.torch_model.contracts import contracts
from gradlint.torch_model.frameworks import calls

pytestmark = pytest.mark.torch

CLASSES = {name: value for name, value in vars(nn).items() if isinstance(value, type) and issubclass(value, nn.Module)}
# Arguments that some constructor takes; the first that one takes is used.
ATTEMPTS: list[tuple[Any, ...]] = [(), (4,), (4, 2), (2, 4), (4, 4, 1), (4, 4, 4), (8, 10, [2])]
SPECIAL: dict[str, tuple[Any, ...]] = {
    "AdaptiveLogSoftmaxWithLoss": (8, 10, [2]),
    "RNNBase": ("LSTM", 4, 4),
    "RNNCellBase": (4, 4, True, 4),
    "TransformerDecoder": (nn.TransformerDecoderLayer(4, 2), 1),
    "TransformerEncoder": (nn.TransformerEncoderLayer(4, 2, batch_first=True), 1),
    "Transformer": (4, 2, 1, 1),
    "TransformerDecoderLayer": (4, 2),
    "TransformerEncoderLayer": (4, 2),
    "DataParallel": (nn.Linear(1, 1),),
    "TripletMarginWithDistanceLoss": (),
    "MultiheadAttention": (4, 2),
    "Unflatten": (1, (2, 2)),
}


def make(name: str, *more: Any) -> nn.Module:
    """Return a module of the class ``name`` made with arguments that it accepts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules and deprecated classes
        for arguments in [SPECIAL[name]] if name in SPECIAL else ATTEMPTS:
            try:
                made: nn.Module = CLASSES[name](*arguments, *more)
            except (TypeError, ValueError):
                continue
            return made
    raise AssertionError(f"no arguments for {name}")


# -- modules -----------------------------------------------------------------------------------------------


def test_every_module_is_listed_once() -> None:
    assert modules() == CLASSES.keys()
    kinds = (trainable_modules(), container_modules(), parameter_free_modules())
    assert sum(map(len, kinds)) == len(modules())


@pytest.mark.parametrize("name", sorted(trainable_modules()))
def test_trainable_module_has_parameters(name: str) -> None:
    assert list(make(name).parameters())


@pytest.mark.parametrize("name", sorted(parameter_free_modules()))
def test_parameter_free_module_has_none(name: str) -> None:
    assert not list(make(name).parameters())


def test_containers_have_what_they_are_given() -> None:
    layer = nn.Linear(1, 1)
    assert len(list(nn.Sequential(layer).parameters())) == 2
    assert len(list(nn.ModuleList([layer]).parameters())) == 2
    assert len(list(nn.ModuleDict({"one": layer}).parameters())) == 2
    assert len(list(nn.ParameterList([layer.weight]).parameters())) == 1
    assert len(list(nn.ParameterDict({"one": layer.weight}).parameters())) == 1
    assert len(list(nn.DataParallel(layer).parameters())) == 2
    assert len(list(nn.TripletMarginWithDistanceLoss(distance_function=layer).parameters())) == 2
    assert not list(nn.Module().parameters())


def _inputs(name: str) -> tuple[Any, ...]:
    torch.manual_seed(0)
    if "Norm" in name:
        dims = int(name[-2]) if name[-1] == "d" else 1
        return (torch.randn(2, 4, *[4] * dims),)
    if name == "Transformer" or "Decoder" in name:
        return torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    if name == "FeatureAlphaDropout" or name[-1] == "d":
        return (torch.randn(2, 32, *[2] * (int(name[-2]) if name[-1] == "d" else 2)),)
    return (torch.randn(4, 4, 4),)


@pytest.mark.parametrize("name", sorted(modules() - container_modules() - losses() - {"RNNBase", "RNNCellBase"}))
def test_train_and_eval_differ_where_listed(name: str) -> None:
    listed = name in mode_dependent_modules()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make(name)
        if not listed and not any(isinstance(part, _Moded) for part in module.modules()):
            return
        inputs = _inputs(name)
        trained = module.train()(*inputs)
        evaluated = module.eval()(*inputs)
        assert torch.equal(trained, evaluated) != listed


_Moded = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU)


@pytest.mark.parametrize("name", sorted(batch_norms()))
def test_batch_norm_updates_running_statistics(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make(name)
        module(*_inputs(name))
    before = module.running_mean.clone()
    module(*_inputs(name))
    assert not torch.equal(before, module.running_mean)
    after = module.running_mean.clone()
    module.eval()(*_inputs(name))
    assert torch.equal(after, module.running_mean)


def test_batch_norms_are_complete() -> None:
    base = nn.modules.batchnorm._BatchNorm
    assert {name for name, value in CLASSES.items() if issubclass(value, base)} == batch_norms()


def test_recurrent_modules_return_a_pair() -> None:
    for name in recurrent_modules():
        result = CLASSES[name](4, 4)(torch.randn(2, 3, 4))
        assert isinstance(result, tuple) and len(result) == 2


@pytest.mark.parametrize("name", sorted(parameter_names()))
def test_parameters_by_name(name: str) -> None:
    names = [parameter for parameter, _ in CLASSES[name](4, 2).named_parameters(recurse=False)]
    assert names
    assert all(names_parameter(f"torch.nn.{name}", one) for one in names)
    assert not names_parameter(f"torch.nn.{name}", "weight")


def test_losses_are_complete() -> None:
    assert {name for name in CLASSES if "Loss" in name} == losses()
    named = {name for name in dir(functional) if name.endswith(("_loss", "cross_entropy", "kl_div", "_with_logits"))}
    assert named == functional_losses()
    assert all(callable(getattr(functional, name)) for name in named)


def test_inplace_modules() -> None:
    found = {}
    for name, value in CLASSES.items():
        names = [one for one in inspect.signature(value).parameters]
        if "inplace" in names:
            found[name] = names.index("inplace")
    for name in ("AlphaDropout", "FeatureAlphaDropout"):
        x = torch.randn(2, 3, 4)
        assert CLASSES[name](inplace=True)(x) is not x and x._version == 0
        del found[name]
    assert found == dict(inplace_modules())


@pytest.mark.parametrize("name", sorted(inplace_modules()))
def test_inplace_module_edits_its_input(name: str) -> None:
    module = CLASSES[name](0.5, 0.5, inplace=True) if name == "Threshold" else CLASSES[name](inplace=True)
    x = torch.randn(2, 3, 4, 4, 4)[(0,) * (0 if name[-2:] == "3d" else 1 if name[-2:] == "2d" else 2)]
    version = x._version
    assert module(x) is x
    assert x._version > version


# -- methods of modules ------------------------------------------------------------------------------------


def test_module_methods_are_complete() -> None:
    public = {
        name
        for name in dir(nn.Module)
        if not name.startswith("_") and callable(getattr(nn.Module, name)) and name != "T_destination"
    }
    assert public == module_methods()
    assert mode_methods() | moves() <= fluent_methods()


FLUENT: dict[str, tuple[Any, ...]] = {"to": ("cpu",), "type": (torch.float64,), "apply": (lambda module: None,)}
ELSEWHERE = {"cuda", "ipu", "mtia", "xpu"}


@pytest.mark.parametrize("name", sorted(fluent_methods() - ELSEWHERE))
def test_fluent_method_returns_the_module(name: str) -> None:
    module = nn.Linear(1, 1)
    before = list(module.parameters())
    arguments = FLUENT.get(name, ())
    result = module.to_empty(device="cpu") if name == "to_empty" else getattr(module, name)(*arguments)
    assert result is module
    if name in moves():
        assert all(one is other for one, other in zip(before, module.parameters(), strict=True))


def test_iterators_are_empty_after_one_pass() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2))
    for name in iterator_methods():
        iterator = getattr(module, name)()
        assert isinstance(iterator, Iterator)
        assert list(iterator) and not list(iterator)
    assert parameter_methods() | buffer_methods() | submodule_methods() == iterator_methods()


def test_what_iterators_yield() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2))
    kinds: list[tuple[frozenset[str], type]] = [
        (parameter_methods(), nn.Parameter),
        (buffer_methods(), torch.Tensor),
        (submodule_methods(), nn.Module),
    ]
    for names, kind in kinds:
        for name in names:
            first = next(getattr(module, name)())
            assert isinstance(first[1] if name.startswith("named_") else first, kind)


# -- training ----------------------------------------------------------------------------------------------


def test_optimizers_are_complete() -> None:
    found = {
        f"torch.optim.{name}"
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    assert found == torch_optimizers()
    assert torch_optimizers() < optimizers()


def test_closure_optimizers_need_one() -> None:
    for name in torch_optimizers() - {"torch.optim.SparseAdam"}:
        optimizer = getattr(torch.optim, name.rpartition(".")[2])([torch.ones(2, 2, requires_grad=True)])
        if name in closure_optimizers():
            with pytest.raises(TypeError):
                optimizer.step()
        else:
            optimizer.step()


def test_schedulers_are_complete() -> None:
    plateau = (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau)
    found = {
        f"torch.optim.lr_scheduler.{name}"
        for name, value in vars(lr_scheduler).items()
        if isinstance(value, type) and issubclass(value, plateau) and name not in ("LRScheduler", "_LRScheduler")
    }
    assert found | {"torch.optim.swa_utils.SWALR"} == schedulers()
    assert issubclass(swa_utils.SWALR, lr_scheduler.LRScheduler)


def test_scaled_loss_reaches_the_loss() -> None:
    w = torch.ones(1, requires_grad=True)
    row = contracts().method(["torch.amp.GradScaler"], "", "scale")
    assert row is not None and row.returns == row.parameters == ("outputs",)
    torch.amp.GradScaler("cpu").scale(w.sum()).backward()
    assert w.grad is not None


def _step(w: torch.Tensor) -> None:
    (w * w).sum().backward()
    torch.optim.SGD([w], lr=0.1).step()


def _clip_norm(w: torch.Tensor) -> None:
    (w.grad,) = torch.autograd.grad((w * w).sum(), w, create_graph=True)
    assert not nn.utils.clip_grad_norm_([w], 1.0).requires_grad


def _clip_value(w: torch.Tensor) -> None:
    (w * w).sum().backward()
    nn.utils.clip_grad_value_([w], 1.0)


def _update_bn(w: torch.Tensor) -> None:
    kept: list[torch.Tensor] = []
    norm = nn.Sequential(nn.BatchNorm1d(2))
    norm.register_forward_hook(lambda module, inputs, output: kept.append(output))
    swa_utils.update_bn([torch.randn(3, 2)], norm)
    assert not kept[0].requires_grad


def _update_parameters(w: torch.Tensor) -> None:
    layer = nn.Linear(2, 2)
    averaged = swa_utils.AveragedModel(layer)
    averaged.update_parameters(layer)
    averaged.update_parameters(layer)
    assert all(one.grad_fn is None for one in averaged.parameters())


def _load_state_dict(w: torch.Tensor) -> None:
    nn.Linear(2, 2).load_state_dict(nn.Linear(2, 2).state_dict(keep_vars=True))


GUARDED: dict[str, Callable[[torch.Tensor], object]] = {
    "torch.nn.init.*": nn.init.zeros_,
    "torch.optim.*.step": _step,
    "torch.optim.*.zero_grad": lambda w: torch.optim.SGD([w], lr=0.1).zero_grad(set_to_none=False),
    "torch.optim.swa_utils.update_bn": _update_bn,
    "torch.nn.utils.clip_grad_norm_": _clip_norm,
    "torch.nn.utils.clip_grad_value_": _clip_value,
    "torch.nn.Module.load_state_dict": _load_state_dict,
    "torch.optim.swa_utils.AveragedModel.update_parameters": _update_parameters,
}


def test_self_guarding_callees_of_torch_are_legal_on_leaves() -> None:
    listed = {name for row in calls() if row.guards for name in row.names if name.startswith("torch.")}
    assert listed == GUARDED.keys()
    for run in GUARDED.values():
        w = torch.randn(2, 2, requires_grad=True)
        run(w)
        assert w.is_leaf and w.requires_grad


def test_guards_are_found_by_pattern() -> None:
    guards = contracts().guards
    assert guards("torch.nn.init.zeros_") and guards("torch.optim.SGD.step") and guards("torch.optim.SGD.zero_grad")
    assert not guards("torch.relu") and not guards("torch.nn.Module.step")
