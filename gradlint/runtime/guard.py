"""``inference_guard()``: tell, in production, when a model runs in the wrong gradient mode.

While a model is guarded, its class is one made for the purpose, derived from its own and called the same, whose
``__call__`` looks at two flags (torch's ``fully_shard`` goes the same way). Forward hooks would be the usual means,
but they take `Module._call_impl` off its short way, switch off the fast path of `nn.TransformerEncoderLayer`, are
pickled with the model and are compiled by ``torch.jit.script``. A class leaves the model's own state as it is.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from enum import Enum
from types import FrameType
from typing import Any, Literal, cast

import torch
from torch import nn

from gradlint.runtime.frames import Frames
from gradlint.runtime.place import NOWHERE, Place

Reaction = Literal["warn", "raise"] | Callable[["Violation"], object]

_DEPTH = 4
_CLASS = vars(object)["__class__"]


class Kind(str, Enum):
    """What is wrong with a call."""

    GRAPH = "inference-with-gradients"
    IDLE = "training-without-gradients"


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A model ran in the wrong gradient mode.

    ``place`` is the user's innermost frame (`NOWHERE` in a thread that torch started), ``module`` the name of the
    model's class, ``count`` how often this happened there so far. As text it is one line: where, what, why, and what
    to do.
    """

    kind: Kind
    place: Place
    module: str
    count: int = 1

    @property
    def message(self) -> str:
        """What happened and why it is wrong."""
        if self.kind is Kind.GRAPH:
            return f"`{self.module}` builds a graph that nobody backwards: it is in eval mode and gradients are on"
        return f"`{self.module}` is in training mode and gradients are off: no parameter can learn from this call"

    @property
    def help(self) -> str:
        """What to do."""
        if self.kind is Kind.GRAPH:
            return "call it inside `torch.inference_mode()` or `torch.no_grad()`"
        return "for inference call `.eval()` before; for training leave `no_grad` or `inference_mode`"

    def __str__(self) -> str:
        """Say it in one line."""
        where = "in a thread of torch" if self.place == NOWHERE else str(self.place)
        return f"{where}: {self.message}; {self.help}"


class InferenceGuardWarning(UserWarning):
    """A guarded model ran in the wrong gradient mode."""


class InferenceGuardError(RuntimeError):
    """A guarded model ran in the wrong gradient mode; ``violation`` says how and where."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


def inference_guard(model: nn.Module, on_violation: Reaction = "warn") -> Guard:
    """Tell when ``model`` runs inference with gradients on, or training with them off.

    The guard is in force at once, until `Guard.remove` or the end of its ``with`` block:

    - a call in eval mode, with gradients on, whose result requires grad builds a graph that nobody will use. A call
      with an input that requires grad is left alone: somebody wants the gradient of that input;
    - a call in training mode with gradients off teaches nothing, if some parameter requires grad.

    ``on_violation`` is ``"warn"`` (an `InferenceGuardWarning`, once per place), ``"raise"`` (an `InferenceGuardError`,
    every time, after the forward) or a function that is given the `Violation`, once per place; `Guard.violations`
    counts them all. Calls of parts of the model, of ``model.forward`` and of copies are not watched, nor is what
    ``torch.compile(model)`` inlines: guard what it returns. Raises `TypeError` when ``model`` cannot be guarded
    (a ``ScriptModule`` cannot), `ValueError` for another ``on_violation``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"inference_guard wants an nn.Module, not {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("a ScriptModule cannot be guarded: guard the module that calls it")
    if on_violation not in ("warn", "raise") and not callable(on_violation):
        raise ValueError(f'on_violation must be "warn", "raise" or a function, not {on_violation!r}')
    return Guard(model, on_violation)


class Guard:
    """A guard in force; made by `inference_guard`. As a context manager it is removed at the end of the block."""

    def __init__(self, model: nn.Module, on_violation: Reaction) -> None:
        self.active = True
        self._name = type(model).__name__
        self._on_violation = on_violation
        self._model = weakref.ref(model)  # the model's class knows the guard: no cycle may keep the model alive
        self._frames = Frames()
        self._lock = threading.Lock()
        self._counts: dict[tuple[Kind, Place], int] = {}
        try:
            _change_class(model, _guarded(type(model), self))
        except TypeError as error:  # a metaclass or a memory layout of its own
            raise TypeError(f"`{self._name}` cannot be guarded: {error}") from None

    def __enter__(self) -> Guard:
        """Return the guard, which is in force already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the guard."""
        self.remove()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """All violations so far, one per kind and place, in the order of their first time."""
        with self._lock:
            return tuple(Violation(kind, place, self._name, count) for (kind, place), count in self._counts.items())

    def remove(self) -> None:
        """Give the model its own class back. Guards of one model may be removed in any order, and more than once."""
        self.active = False
        model = self._model()
        while model is not None and (guard := vars(type(model)).get("_gradlint_guard")) and not guard.active:
            _change_class(model, vars(type(model))["_gradlint_base"])

    def check(self, model: nn.Module, given: object, result: object) -> None:
        """Judge one call of ``model`` that has returned ``result`` for the arguments ``given``."""
        if not self.active:
            return
        if torch.is_grad_enabled():
            if not model.training and _requires_grad(result) and not _requires_grad(given):
                self._report(Kind.GRAPH)
        elif model.training and any(parameter.requires_grad for parameter in model.parameters()):
            self._report(Kind.IDLE)

    def _report(self, kind: Kind) -> None:
        frame = sys._getframe(2)
        if _is_tracing(frame):
            return
        with self._lock:
            place = self._frames.place(self._frames.spot(frame)[0])
            count = self._counts[kind, place] = self._counts.get((kind, place), 0) + 1
        violation = Violation(kind, place, self._name, count)
        if self._on_violation == "raise":
            raise InferenceGuardError(violation)
        if count > 1:
            return
        if callable(self._on_violation):
            self._on_violation(violation)
        else:
            # The place is in the text; the line is given too, so that filters by module and the excerpt fit.
            warnings.warn_explicit(str(violation), InferenceGuardWarning, place.path, place.line)


class _Unregistered:
    """Stands in front of the model's class, so that its ``__init_subclass__`` (a registry, say) sees no new class."""

    def __init_subclass__(cls) -> None:
        pass


def _guarded(base: type[nn.Module], guard: Guard) -> type[nn.Module]:
    """Return a class that is ``base`` in everything but its ``__call__``, and whose instances are saved as ``base``."""
    own = vars(base).get("_gradlint_own", base)  # another guard's class may lie in between
    is_grad_enabled, is_compiling = torch.is_grad_enabled, torch.compiler.is_dynamo_compiling

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = base.__call__(self, *args, **kwargs)
        if is_grad_enabled() is self.training or is_compiling():
            return result
        guard.check(self, (args, kwargs), result)
        return result

    def reduce(self: nn.Module, protocol: Any) -> Any:
        reduced: object = cast(Any, base).__reduce_ex__(self, protocol)
        return _renamed(reduced, type(self), base) if isinstance(reduced, tuple) else reduced

    names = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__call__": call,
        "__reduce_ex__": reduce,
        "__class__": property(lambda _: own),
        "_gradlint_guard": guard,
        "_gradlint_base": base,
        "_gradlint_own": own,
    }
    bases = (base,) if own is not base else (_Unregistered, base)
    metaclass: Any = type(base)
    made: type[nn.Module] = metaclass(base.__name__, bases, names)
    return made


def _renamed(reduced: tuple[Any, ...], guarded: type, base: type) -> tuple[Any, ...]:
    """Return what `object.__reduce_ex__` made of a guarded model as if its class were ``base``."""
    function, arguments, *rest = reduced
    renamed = (base if each is guarded else each for each in arguments)
    return (base if function is guarded else function, tuple(renamed), *rest)


def _change_class(model: nn.Module, to: type[nn.Module]) -> None:
    _CLASS.__set__(model, to)


def _is_tracing(frame: FrameType | None) -> bool:
    """Tell whether ``torch.jit.trace`` makes this call: it runs a model in the modes that suit it."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.jit._trace":
            return True
        frame = frame.f_back
    return False


def _requires_grad(value: object, depth: int = _DEPTH) -> bool:
    """Tell whether a tensor in ``value`` (containers and dataclasses are looked into) requires grad."""
    if isinstance(value, torch.Tensor):
        return bool(value.requires_grad)
    if not depth:
        return False
    if isinstance(value, Mapping):
        return any(_requires_grad(each, depth - 1) for each in value.values())
    if isinstance(value, tuple | list | set | frozenset):
        return any(_requires_grad(each, depth - 1) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(_requires_grad(getattr(value, each.name), depth - 1) for each in dataclasses.fields(value))
    return False
