"""Fresh copies of what a variant works on, and the settings of torch put back as they were."""

from __future__ import annotations

import copy
import gc
import os
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradlint.runtime.comparison.randomness import kept_generators
from gradlint.runtime.comparison.result import ComparisonError

_DEPTH = 6
_OPAQUE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    str,
    bytes,
    int,
    float,
)


@dataclass(slots=True)
class Subject:
    """What is given to a variant: the model, its optimizer and the inputs, all of them copies.

    ``model`` is a module, a tensor, or a mapping or sequence of these; ``notes`` say what a copy lacks.
    """

    model: Any
    optimizer: Any
    inputs: tuple[Any, ...]
    notes: list[str] = field(default_factory=list)

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every parameter with its name, a shared one once; those of lazy modules have to be made first."""
        for prefix, part in _parts(self.model):
            if isinstance(part, nn.Module):
                yield from ((name, found) for name, found in part.named_parameters(prefix) if not is_lazy(found))
            else:
                yield prefix or "tensor", part

    def buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every buffer with its name."""
        for prefix, part in _parts(self.model):
            if isinstance(part, nn.Module):
                yield from ((name, found) for name, found in part.named_buffers(prefix) if not is_lazy(found))

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield every module with its name; a model's own is empty."""
        for prefix, part in _parts(self.model):
            if isinstance(part, nn.Module):
                yield from part.named_modules(prefix=prefix)


def is_model(model: Any) -> bool:
    """Tell whether ``model`` is a module or tensor, or a mapping or sequence of these."""
    if isinstance(model, nn.Module | torch.Tensor):
        return True
    parts = list(model.values()) if isinstance(model, Mapping) else model if isinstance(model, list | tuple) else []
    return bool(parts) and all(isinstance(part, nn.Module | torch.Tensor) for part in parts)


def fresh(model: Any, optimizer: Any, inputs: Any, device: str) -> Subject:
    """Return copies of all three on ``device``; functions among them are called to make what they stand for.

    Tensors that carry a graph are copied without it, since torch copies leaves only. The gradients of the copies are
    None. Raises `ComparisonError` if something cannot be copied.
    """
    known = hasattr(optimizer, "step") and not isinstance(optimizer, type)
    if known and not is_model(model):
        raise ComparisonError(
            "a model that is made by a function needs an optimizer made by one: optimizer=lambda m: …"
        )
    notes = _lost_hooks(model) if is_model(model) else []
    # In one go, so that the optimizer's copy holds the parameters of the model's copy.
    originals = (model if is_model(model) else None, optimizer if known else None, None if callable(inputs) else inputs)
    copied, tied, given = _copied(originals, notes)
    if not is_model(model):
        copied = _made("model", model)
    if callable(inputs):
        given = _made("inputs", inputs)
        given = given if isinstance(given, tuple | list) else (given,)
    place = torch.device(device)
    old = dict(Subject(copied, None, ()).parameters())
    at = {parameter.device for parameter in old.values()}
    subject = Subject(_moved(copied, place), tied, tuple(_moved(value, place) for value in given), notes)
    new = dict(subject.parameters())
    if known and at != {parameter.device for parameter in new.values()}:
        _follow(subject.optimizer, {id(old[name]): new[name] for name in old})
    elif optimizer is not None and not known:
        subject.optimizer = _made("optimizer", optimizer, subject.model)
    for _, parameter in subject.parameters():
        parameter.grad = None
    return subject


def _follow(optimizer: Any, moved: Mapping[int, torch.Tensor]) -> None:
    """Give ``optimizer`` the parameters that were ``moved``, by the identity of the old ones, and move its state."""
    for group in optimizer.param_groups:
        group["params"] = [moved.get(id(parameter), parameter) for parameter in group["params"]]
    for parameter in list(optimizer.state):
        if id(parameter) in moved:
            optimizer.state[moved[id(parameter)]] = optimizer.state.pop(parameter)
    # Loading moves the state to where the parameters are now.
    optimizer.load_state_dict(optimizer.state_dict())


def _parts(model: Any) -> list[tuple[str, Any]]:
    if isinstance(model, nn.Module | torch.Tensor):
        return [("", model)]
    pairs = model.items() if isinstance(model, Mapping) else enumerate(model)
    return [(str(key), value) for key, value in pairs]


def _made(name: str, factory: Callable[..., Any], *arguments: Any) -> Any:
    try:
        made = factory(*arguments)
    except Exception as error:
        raise ComparisonError(f"the function given as `{name}` raised {described(error)}") from error
    if name == "model" and not is_model(made):
        raise ComparisonError(f"the function given as `model` returned {type(made).__name__}, not a module")
    return made


def described(error: BaseException) -> str:
    """Return the type of ``error`` and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _copied(bundle: tuple[Any, ...], notes: list[str]) -> tuple[Any, ...]:
    try:
        return copy.deepcopy(bundle)
    except Exception as error:
        tracked = _tracked(bundle)
        if not tracked:
            raise _uncopyable(bundle, error) from error
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in tracked}
    try:
        copied = copy.deepcopy(bundle, memo)
    except Exception as error:
        raise _uncopyable(bundle, error, tracked) from error
    many = f"{len(tracked)} cached tensors carry graphs" if len(tracked) > 1 else "a cached tensor carries a graph"
    notes.append(f"{many}; the copies do not")
    return copied


def _tracked(bundle: Any) -> list[torch.Tensor]:
    """Return the tensors with a graph that can be reached from ``bundle``."""
    found: list[torch.Tensor] = []
    seen = {id(bundle)}
    stack = [bundle]
    while stack:
        value = stack.pop()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None:
            found.append(value)
            continue
        for inner in gc.get_referents(value):
            if id(inner) not in seen and not isinstance(inner, _OPAQUE):
                seen.add(id(inner))
                stack.append(inner)
    return found


def _uncopyable(bundle: tuple[Any, ...], error: Exception, tracked: Sequence[torch.Tensor] = ()) -> ComparisonError:
    for name, part in zip(("model", "optimizer", "inputs"), bundle, strict=True):
        culprit = _culprit(part, name, tracked, _DEPTH)
        if culprit is not None:
            where, value = culprit
            remedy = f"give a function that makes it instead: {name}=lambda{' model' * (name == 'optimizer')}: …"
            kind = type(value).__name__
            return ComparisonError(f"`{name}` cannot be copied because of `{where}` ({kind}); {remedy}")
    return ComparisonError(f"the model, the optimizer and the inputs cannot be copied together: {described(error)}")


def _culprit(value: Any, path: str, tracked: Sequence[torch.Tensor], depth: int) -> tuple[str, Any] | None:
    """Return the innermost part of ``value`` that cannot be copied, with the way to it; None if it can be."""
    try:
        copy.deepcopy(value, {id(tensor): None for tensor in tracked})
    except Exception:
        for name, inner in _children(value, path) if depth else ():
            found = _culprit(inner, name, tracked, depth - 1)
            if found is not None:
                return found
        return path, value
    return None


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{index}]", inner) for index, inner in enumerate(value))
    for key, inner in getattr(value, "__dict__", {}).items():
        if isinstance(value, nn.Module) and key in ("_modules", "_parameters", "_buffers"):
            yield from ((f"{path}.{name}", part) for name, part in inner.items())
        else:
            yield f"{path}.{key}", inner


def _lost_hooks(model: Any) -> list[str]:
    """Say so if parameters have hooks, which copies do not get (those of modules are copied)."""
    names = [
        name
        for name, parameter in Subject(model, None, ()).parameters()
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None)
    ]
    more = f" and {len(names) - 1} more parameters" if len(names) > 1 else ""
    return [f"the hooks of `{names[0]}`{more} are not copied"] if names else []


def _moved(value: Any, device: torch.device) -> Any:
    """Return ``value`` with its tensors and modules on ``device``; lists, tuples and mappings are looked into."""
    if isinstance(value, nn.Module):
        return value.to(device)
    if isinstance(value, torch.Tensor):
        return _moved_tensor(value, device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(inner, device) for inner in value))
    if isinstance(value, list | tuple):
        return type(value)(_moved(inner, device) for inner in value)
    if type(value) is dict:
        return {key: _moved(inner, device) for key, inner in value.items()}
    # Batches of other libraries have the method of tensors.
    return value.to(device) if callable(getattr(value, "to", None)) else value


def _moved_tensor(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if tensor.device == device or (tensor.device.type == device.type and device.index is None):
        return tensor
    moved = tensor.detach().to(device).requires_grad_(tensor.requires_grad)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


@contextmanager
def preserved() -> Iterator[None]:
    """Put back, when the block ends, all generators, anomaly mode and the default dtype."""
    dtype, anomaly, check_nan = (
        torch.get_default_dtype(),
        torch.is_anomaly_enabled(),
        torch.is_anomaly_check_nan_enabled(),
    )
    with kept_generators():
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_anomaly_enabled(anomaly, check_nan)


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """On CUDA, choose algorithms that repeat themselves: deterministic ones, no TF32, no benchmarking of kernels.

    Where torch has none it goes on with another (https://docs.pytorch.org/docs/stable/notes/randomness.html), and two
    runs of one variant show what that amounts to.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    precision, benchmark, tf32 = torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.allow_tf32
    # cuBLAS repeats itself only with a workspace of its own.
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("highest")
        cudnn.benchmark = cudnn.allow_tf32 = False
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have a deterministic implementation.*")
            yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        torch.set_float32_matmul_precision(precision)
        cudnn.benchmark, cudnn.allow_tf32 = benchmark, tf32
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]
