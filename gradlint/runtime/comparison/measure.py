"""One run of a variant, and what it left: gradients, state, mode, an error; and in a run of its own, memory."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from gradlint.runtime.comparison.randomness import drawn, seed_all
from gradlint.runtime.comparison.result import ComparisonError, Kept
from gradlint.runtime.comparison.snapshot import Subject, described, preserved
from gradlint.runtime.recording import Mode

Step = Callable[[Subject], Any]
"""A variant, ready to be called with what it works on."""

Make = Callable[[], Subject]
"""Makes fresh copies of what a variant works on."""


@dataclass(slots=True)
class Run:
    """What one run of a variant left.

    ``gradients`` are those that the last step of an optimizer found, or else what is left in ``.grad``; ``moved``
    holds by how much each parameter changed, ``norms`` its L2 norm. ``drawn`` tells how many random numbers were used.
    """

    gradients: dict[str, torch.Tensor | None] = field(default_factory=dict)
    moved: dict[str, torch.Tensor] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)
    requires_grad: dict[str, bool] = field(default_factory=dict)
    training: dict[str, bool] = field(default_factory=dict)
    error: str = ""
    mode: Mode = Mode.ON
    drawn: tuple[str, ...] = ()
    dropouts: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Memory:
    """What one run saved for backward, in bytes, and what was alive after each iteration."""

    saved_bytes: int = 0
    peak_bytes: int = 0
    kept: tuple[Kept, ...] = ()
    failure: str = ""


def run(step: Step, make: Make, iterations: int, seed: int, jitter: bool = False) -> Run:
    """Seed all generators, make the copies, call ``step`` on them ``iterations`` times and return what is left.

    ``jitter`` moves every parameter by one rounding step beforehand.
    """
    with preserved(), torch.inference_mode(False), torch.enable_grad():
        seed_all(seed)
        subject = make()
        if jitter:
            _jitter(subject)
        before = {name: parameter.detach().clone() for name, parameter in subject.parameters()}
        seed_all(seed)
        with _at_steps(subject) as found:
            error = _repeat(step, subject, iterations)
        return _left(subject, before, found, error)


def measure(step: Step, make: Make, iterations: int, seed: int) -> Memory:
    """Run ``step`` as `run` does and return what it saved and kept."""
    with preserved(), torch.inference_mode(False), torch.enable_grad():
        seed_all(seed)
        subject = make()
        seed_all(seed)
        watch = _Saved(subject)
        nodes = _Nodes()
        kept: list[Kept] = []

        def count(result: Any) -> None:
            nodes.mark(result)
            if nodes.alive or watch.alive:
                # What only cycles keep is not kept for long.
                gc.collect()
            kept.append(Kept(nodes.alive, watch.alive))

        with ExitStack() as stack:
            stack.enter_context(_quick_collections())
            stack.enter_context(saved_tensors_hooks(watch.pack, watch.unpack))
            stack.enter_context(nodes)
            error = _repeat(step, subject, iterations, count)
        return Memory(watch.total, watch.peak, tuple(kept), error)


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Let the garbage collector look only at objects that are made in this block; there are few of them."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _repeat(step: Step, subject: Subject, iterations: int, after: Callable[[Any], None] | None = None) -> str:
    """Call ``step``, keeping its latest result alive as a caller would; return the error that ended it."""
    result = None
    for _ in range(iterations):
        result = None
        try:
            result = step(subject)
        except ComparisonError:
            raise
        except Exception as error:
            return re.sub(r"\b0x[0-9a-fA-F]+", "0x…", described(error))
        finally:
            if after is not None:
                after(result)
    return ""


def _left(subject: Subject, before: dict[str, torch.Tensor], found: dict[str, torch.Tensor | None], error: str) -> Run:
    mode = Mode.INFERENCE if torch.is_inference_mode_enabled() else Mode.ON if torch.is_grad_enabled() else Mode.OFF
    left = Run(error=error, mode=mode, drawn=drawn(), notes=tuple(subject.notes))
    with torch.no_grad():
        for name, parameter in subject.parameters():
            left.gradients[name] = found[name] if name in found else _copy(parameter.grad)
            left.requires_grad[name] = parameter.requires_grad
            left.norms[name] = float(torch.linalg.vector_norm(parameter.detach().to(torch.float64).abs()))
            if name in before and before[name].shape == parameter.shape:
                left.moved[name] = parameter.detach() - before[name]
        left.buffers.update((name, buffer.detach().clone()) for name, buffer in subject.buffers())
    left.training.update((name, module.training) for name, module in subject.modules())
    return left


def _copy(gradient: torch.Tensor | None) -> torch.Tensor | None:
    if gradient is None:
        return None
    dense = gradient.detach().to_dense() if gradient.layout is not torch.strided else gradient.detach()
    return dense.clone()


def _jitter(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in subject.parameters():
            if parameter.is_floating_point():
                signs = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter.device) * 2 - 1
                parameter.mul_(1 + torch.finfo(parameter.dtype).eps * signs.to(parameter.dtype))


@contextmanager
def _at_steps(subject: Subject) -> Iterator[dict[str, torch.Tensor | None]]:
    """Keep what the latest step of any optimizer found in ``.grad`` of the model's parameters."""
    found: dict[str, torch.Tensor | None] = {}

    def keep(optimizer: torch.optim.Optimizer) -> None:
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        found.update((name, _copy(part.grad)) for name, part in subject.parameters() if id(part) in own)

    def has_closure(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        return any(callable(value) for value in (*args[1:], kwargs.get("closure")))

    def before(optimizer: torch.optim.Optimizer, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if not has_closure(args, kwargs):
            keep(optimizer)

    def after(optimizer: torch.optim.Optimizer, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        # A closure computes the gradients inside the step.
        if has_closure(args, kwargs):
            keep(optimizer)

    handles = register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class _Handle:
    """A saved tensor. It is kept detached, or graphs that nobody backwards would keep themselves alive for ever
    (pytorch#115255), and with its version, since hooks turn off torch's own check of it.
    """

    __slots__ = ("key", "owner", "tensor", "version")

    def __init__(self, tensor: torch.Tensor, owner: _Saved, key: int) -> None:
        self.tensor, self.version = tensor.detach(), tensor._version
        self.owner, self.key = owner, key

    def __del__(self) -> None:
        self.owner.drop(self.key)


class _Saved:
    """Counts bytes saved for backward. A storage counts once at a time, and those of parameters do not count."""

    def __init__(self, subject: Subject) -> None:
        self.total = self.alive = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._parameters = {_key(parameter) for _, parameter in subject.parameters()}

    def pack(self, tensor: torch.Tensor) -> _Handle:
        """Note that ``tensor`` is saved."""
        key = _key(tensor)
        if key in self._parameters or isinstance(tensor, nn.Parameter):
            key = 0
        self._uses[key] = self._uses.get(key, 0) + 1
        if key and self._uses[key] == 1:
            size = self._sizes[key] = tensor.untyped_storage().nbytes()
            self.total += size
            self.alive += size
            self.peak = max(self.peak, self.alive)
        return _Handle(tensor, self, key)

    def unpack(self, handle: _Handle) -> torch.Tensor:
        """Return the saved tensor; raises `RuntimeError` as torch does if it was edited in the meantime."""
        if handle.tensor._version != handle.version:
            raise RuntimeError("one of the variables needed for gradient computation has been modified in place")
        return handle.tensor

    def drop(self, key: int) -> None:
        """Note that one handle is gone."""
        self._uses[key] -= 1
        if not self._uses[key]:
            del self._uses[key]
            self.alive -= self._sizes.pop(key, 0)


def _key(tensor: torch.Tensor) -> int:
    """Return what tells the storage of ``tensor`` from others while it lives; 0 for what has none."""
    return 0 if tensor.layout is not torch.strided else int(tensor.untyped_storage()._cdata)


class _Sentinel:
    __slots__ = ("owner",)

    def __init__(self, owner: _Nodes) -> None:
        self.owner = owner
        owner.alive += 1

    def __del__(self) -> None:
        self.owner.alive -= 1


class _Nodes(TorchFunctionMode):
    """Counts graph nodes that are alive, without keeping them so: each gets an object that dies with it.

    The nodes themselves take no weak references, but their ``metadata`` belongs to them. Nodes that only pass a
    gradient on to a leaf live as long as the leaf and are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``function`` and mark the nodes of its result and of what it edited."""
        result = function(*args, **(kwargs or {}))
        self.mark(result)
        if result is None and args:
            self.mark(args[0])
        return result

    def mark(self, value: Any) -> None:
        """Mark every node behind the tensors of ``value`` that has no mark yet."""
        stack = [tensor.grad_fn for tensor in _tensors(value) if tensor.grad_fn is not None]
        while stack:
            node = stack.pop()
            marks = getattr(node, "metadata", None)
            if marks is None or self in marks or type(node).__name__ == "AccumulateGrad":
                continue
            marks[self] = _Sentinel(self)
            stack.extend(following for following, _ in node.next_functions if following is not None)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
