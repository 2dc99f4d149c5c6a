"""Names and contexts of the model of torch, held against the installed torch."""

from __future__ import annotations

import contextlib
import functools
import threading
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from gradlint.torch_model import (
    GradContext,
    aliases,
    canonical,
    expecting_contexts,
    expecting_methods,
    grad_contexts,
    idle_contexts,
    mode_queries,
    neutral_contexts,
    suppressing_contexts,
)

pytestmark = pytest.mark.torch

MODES = {(True, False): "on", (False, False): "off", (False, True): "inference"}


def resolve(name: str) -> Any:
    """Return the object that the dotted ``name`` means, importing what has to be."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            home = __import__(".".join(parts[:length]), fromlist=["_"])
            return functools.reduce(getattr, parts[length:], home)
    raise ImportError(name)


def mode() -> str:
    return MODES[torch.is_grad_enabled(), torch.is_inference_mode_enabled()]


@pytest.fixture(autouse=True)
def restored_mode() -> Iterator[None]:
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", sorted(aliases()))
def test_alias_is_the_same_object(alias: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.nn.utils.stateless is deprecated
        one, other = resolve(alias), resolve(canonical(alias))
    if isinstance(one, type) and isinstance(other, type):
        assert issubclass(one, other)
    else:
        assert one is other or one.__name__ == other.__name__


@pytest.mark.parametrize("alias", sorted(aliases()))
def test_canonical_names_are_fixed_points(alias: str) -> None:
    assert alias != canonical(alias)
    assert canonical(canonical(alias)) == canonical(alias)


def test_classes_are_canonical_under_the_module_that_defines_them() -> None:
    for home, name in ((nn, "torch.nn"), (torch.optim, "torch.optim"), (torch.distributions, "torch.distributions")):
        for public, value in vars(home).items():
            if isinstance(value, type) and value.__module__.startswith(f"{name}.") and value.__name__ == public:
                assert canonical(f"{value.__module__}.{public}") == f"{name}.{public}"


@pytest.mark.parametrize(
    "name",
    [
        "torch.nn.functional.relu",
        "torch.nn.init.zeros_",
        "torch.nn.utils.clip_grad_norm_",
        "torch.optim.lr_scheduler.StepLR",
        "torch.optim.swa_utils.AveragedModel",
        "torch.distributions.constraints.positive",
        "torch.utils.checkpoint.checkpoint",
        "numpy.random.rand",
        "x",
    ],
)
def test_other_names_stay(name: str) -> None:
    assert canonical(name) == name


def test_prefixes() -> None:
    assert canonical("functorch.vmap") == "torch.func.vmap"
    assert canonical("torch.functional.einsum") == "torch.einsum"
    assert canonical("torch.nn.modules.Linear") == "torch.nn.Linear"
    assert canonical("torch.nn.modules.batchnorm.BatchNorm2d.forward") == "torch.nn.BatchNorm2d.forward"
    assert canonical("torch.optim.sgd.SGD.step") == "torch.optim.SGD.step"
    assert canonical("torch._tensor.Tensor.backward") == "torch.Tensor.backward"
    assert canonical("pytorch_lightning.LightningModule") == "lightning.pytorch.LightningModule"
    assert canonical("lightning_fabric.Fabric") == "lightning.fabric.Fabric"


# -- contexts ----------------------------------------------------------------------------------------------


def _arguments(context: GradContext) -> list[tuple[bool, ...]]:
    if context.mode != "argument":
        return [()]
    return [(True,), (False,)] if context.default is None else [(), (True,), (False,)]


@pytest.mark.parametrize("name", sorted(grad_contexts()))
@pytest.mark.parametrize("outside", [True, False])
def test_mode_switch_does_what_it_says(name: str, outside: bool) -> None:
    context = grad_contexts()[name]
    for arguments in _arguments(context):
        (wanted,) = context.modes(arguments[0] if arguments else msgspec.UNSET)
        torch.set_grad_enabled(outside)
        before = mode()
        made = resolve(name)(*arguments)
        assert mode() == (wanted if context.on_call else before)
        assert hasattr(made, "__enter__") == context.context
        if context.context:
            with made:
                assert mode() == wanted
            assert mode() == before


@pytest.mark.parametrize("name", sorted(grad_contexts()))
def test_mode_switch_without_argument(name: str) -> None:
    context = grad_contexts()[name]
    if context.mode == "argument" and context.default is None:
        assert context.modes(msgspec.UNSET) == frozenset()
        with pytest.raises(TypeError):
            resolve(name)()
    else:
        assert len(context.modes(msgspec.UNSET)) == 1
        resolve(name)()


def test_unknown_argument_means_either_mode() -> None:
    assert grad_contexts()["torch.set_grad_enabled"].modes(None) == {"on", "off"}
    assert grad_contexts()["torch.inference_mode"].modes(None) == {"on", "inference"}
    assert grad_contexts()["torch.no_grad"].modes(None) == {"off"}


def test_argument_has_the_name_it_is_said_to_have() -> None:
    for name, context in grad_contexts().items():
        if context.parameter is not None:
            resolve(name)(**{context.parameter: True})


def test_mode_queries() -> None:
    with torch.inference_mode():
        inside = {name: resolve(name)() for name in mode_queries()}
    assert all(inside[name] is not resolve(name)() for name in inside)


NEUTRAL: dict[str, Callable[[], Any]] = {
    "torch.autocast": lambda: torch.autocast("cpu"),
    "torch.autograd.detect_anomaly": lambda: torch.autograd.detect_anomaly(check_nan=False),
    "torch.autograd.set_detect_anomaly": lambda: torch.autograd.set_detect_anomaly(False),
    "torch.autograd.set_multithreading_enabled": lambda: torch.autograd.set_multithreading_enabled(True),
    "torch.autograd.forward_ad.dual_level": lambda: torch.autograd.forward_ad.dual_level(),
    "torch.autograd.graph.save_on_cpu": lambda: torch.autograd.graph.save_on_cpu(),
    "torch.autograd.graph.saved_tensors_hooks": lambda: torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor, lambda tensor: tensor
    ),
    "torch.autograd.graph.disable_saved_tensors_hooks": lambda: torch.autograd.graph.disable_saved_tensors_hooks("no"),
    "torch.autograd.graph.allow_mutation_on_saved_tensors": lambda: (
        torch.autograd.graph.allow_mutation_on_saved_tensors()
    ),
    "torch.autograd.profiler.record_function": lambda: torch.autograd.profiler.record_function("part"),
    "torch.profiler.record_function": lambda: torch.profiler.record_function("part"),
    "torch.backends.cudnn.flags": lambda: torch.backends.cudnn.flags(enabled=False),
    "torch.nn.attention.sdpa_kernel": lambda: nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH),
    "torch.device": lambda: torch.device("cpu"),
    "torch.nn.utils.parametrize.cached": lambda: nn.utils.parametrize.cached(),
    "torch.random.fork_rng": lambda: torch.random.fork_rng(),
    "torch.sparse.check_sparse_tensor_invariants": lambda: torch.sparse.check_sparse_tensor_invariants(),
    "torch.utils.flop_counter.FlopCounterMode": lambda: resolve("torch.utils.flop_counter.FlopCounterMode")(
        display=False
    ),
    "contextlib.nullcontext": contextlib.nullcontext,
    "contextlib.ExitStack": contextlib.ExitStack,
    "contextlib.redirect_stdout": lambda: contextlib.redirect_stdout(None),
    "contextlib.redirect_stderr": lambda: contextlib.redirect_stderr(None),
    "threading.Lock": threading.Lock,
    "threading.RLock": threading.RLock,
    "unittest.mock.patch": lambda: unittest.mock.patch("torch.manual_seed"),
    "warnings.catch_warnings": warnings.catch_warnings,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_neutral_context_leaves_the_mode_alone(name: str) -> None:
    assert name in neutral_contexts()
    for outside in (True, False):
        torch.set_grad_enabled(outside)
        before = mode()
        with NEUTRAL[name]():
            assert mode() == before
        assert mode() == before


def test_neutral_contexts_exist() -> None:
    for name in neutral_contexts() - NEUTRAL.keys():
        if name.startswith("torch."):
            assert callable(resolve(name)), name


def test_no_context_is_both_neutral_and_a_switch() -> None:
    assert not neutral_contexts() & grad_contexts().keys()


def test_idle_contexts_are_neutral_ones_of_torch() -> None:
    assert idle_contexts() <= neutral_contexts()
    assert all(name.startswith("torch.") for name in idle_contexts())


def test_suppressing_contexts_swallow() -> None:
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.suppress(ValueError))
    made: dict[str, Any] = {
        "contextlib.suppress": contextlib.suppress(ValueError),
        "contextlib.ExitStack": stack,
    }
    assert made.keys() == suppressing_contexts()
    for context in made.values():
        with context:
            raise ValueError("swallowed")


def test_expecting_contexts_fail_without_an_exception() -> None:
    case = unittest.TestCase()
    asking: dict[str, Callable[..., Any]] = {
        "pytest.raises": pytest.raises,
        "numpy.testing.assert_raises": np.testing.assert_raises,
        "numpy.testing.assert_raises_regex": np.testing.assert_raises_regex,
        "assertRaises": case.assertRaises,
        "assertRaisesRegex": case.assertRaisesRegex,
    }
    assert asking.keys() == expecting_contexts() | expecting_methods()
    for name, ask in asking.items():
        arguments = (ValueError, "swallowed") if "regex" in name.lower() else (ValueError,)
        with ask(*arguments):
            raise ValueError("swallowed")
        with pytest.raises((AssertionError, pytest.fail.Exception)), ask(*arguments):
            pass
