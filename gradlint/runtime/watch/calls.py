"""Levels 1 and 2: calls of torch's functions, by a function mode.

A mode belongs to one thread and is put aside while a call that it has seen is running; the backward pass and new
threads enter it again.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import torch
from torch import is_grad_enabled, is_inference_mode_enabled, nn
from torch.overrides import TorchFunctionMode

from gradlint.runtime.frames import Frames, Spot
from gradlint.runtime.recording import Call, Mode, Recording, Way
from gradlint.runtime.watch.cuts import CutWatch
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.threads import Local

_Handler = Callable[[Any, tuple[Any, ...], dict[str, Any], FrameType], Any]
_Tensor = torch.Tensor
# The stack of function modes of this thread.
_depth, _at = torch._C._len_torch_function_stack, torch._C._get_function_stack_at
_push, _pop = torch._C._push_on_torch_function_stack, torch._C._pop_torch_function_stack
_is_compiling = torch.compiler.is_dynamo_compiling
_MODES = (Mode.OFF, Mode.ON, Mode.INFERENCE)
_METHOD_WRAPPER = type(torch.Tensor.data.__get__)

_DETACHES = (_Tensor.detach, torch.detach)
_NUMBERS = (_Tensor.item, _Tensor.tolist, _Tensor.__float__, _Tensor.__int__)
_ARRAYS = (_Tensor.numpy, _Tensor.__array__)
_EXPOSES = (_Tensor.data_ptr, _Tensor.untyped_storage, _Tensor.__dlpack__)
_COPIES = (torch.tensor, torch.as_tensor, torch.asarray, _Tensor.new_tensor)
_STEPS = ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside", "bernoulli")
_ZERO = tuple(
    getattr(owner, name + suffix)
    for owner in (torch, _Tensor)
    for name in _STEPS
    for suffix in ("", "_")
    if hasattr(owner, name + suffix)
)


# Their results have the shape of a tensor, and nothing of its values.
_OF_SHAPE = frozenset(
    getattr(owner, name)
    for owner, names in (
        (torch, "empty_like full_like ones_like rand_like randint_like randn_like zeros_like"),
        (_Tensor, "new_empty new_full new_ones new_zeros"),
    )
    for name in names.split()
)


class _Counts:
    """The counts of one row."""

    __slots__ = ("count", "direct", "errors", "tracked_in", "tracked_out")

    def __init__(self, direct: bool) -> None:
        self.direct = direct
        self.count = self.tracked_in = self.tracked_out = 0
        self.errors: set[str] = set()


class CallWatch:
    """Counts the calls that matter to gradients (level 1) or all (level 2)."""

    def __init__(self, frames: Frames, local: Local, cuts: CutWatch, every: bool) -> None:
        self._frames = frames
        self._local = local
        self._cuts = cuts
        self._every = every
        self._rows: dict[tuple[int, int, Any, int], _Counts] = {}
        self._handlers = self._handlers_by_function()
        self._mode: TorchFunctionMode | None = None
        self._leaves: dict[int, tuple[weakref.ref[torch.Tensor], Spot]] = {}
        self.live: LiveSaved | None = None
        """Is told where code outside of torch gets at the memory of a tensor, and where ``data`` is replaced."""

    def start(self) -> None:
        """Begin to watch this thread."""
        self._mode = self.mode()
        _push(self._mode)

    def stop(self) -> None:
        """Stop watching this thread."""
        if self._mode is not None:
            self.leave(self._mode)
            self._mode = None

    def mode(self) -> TorchFunctionMode:
        """Return a mode for one thread."""
        return _EveryCall(self) if self._every else _SomeCalls(self)

    def again(self) -> TorchFunctionMode | None:
        """Enter a mode where torch has put ours aside, as during the backward pass; return it, or None if not."""
        if self._is_on(range(_depth())):
            return None
        mode = self.mode()
        _push(mode)
        return mode

    def put_aside(self) -> TorchFunctionMode | None:
        """Take our mode away if it is the innermost one, and return it; `put_back` undoes it."""
        depth = _depth()
        if not depth or not self._is_on((depth - 1,)):
            return None
        aside: TorchFunctionMode = _pop()
        return aside

    @staticmethod
    def put_back(mode: TorchFunctionMode) -> None:
        """Enter ``mode`` again."""
        _push(mode)

    @staticmethod
    def leave(mode: TorchFunctionMode) -> None:
        """Leave what `again` has entered."""
        if _depth() and _at(_depth() - 1) is mode:
            _pop()

    def _is_on(self, positions: Iterable[int]) -> bool:
        return any(isinstance(mode := _at(position), _Ours) and mode.watch is self for position in positions)

    def fill(self, recording: Recording) -> None:
        """Write the rows."""
        rows = []
        for (code, instruction, function, mode), counts in self._rows.items():
            place = self._frames.place((code, instruction) if code else None)
            errors = tuple(sorted(counts.errors))
            tracked = (counts.tracked_in, counts.tracked_out)
            rows.append(Call(place, counts.count, _name(function), _MODES[mode], counts.direct, *tracked, errors))
        recording.calls = tuple(rows)

    def count(self, function: Any, frame: FrameType) -> tuple[_Counts, Spot | None]:
        """Count one call from ``frame``; return its counts and the user's spot."""
        spot, direct = self._frames.spot(frame)
        code, instruction = spot or (0, 0)
        mode = 1 if is_grad_enabled() else 2 if is_inference_mode_enabled() else 0
        key = (code, instruction, function, mode)
        counts = self._rows.get(key)
        if counts is None:
            counts = self._rows[key] = _Counts(direct)
        counts.count += 1
        return counts, spot

    def _handlers_by_function(self) -> dict[Any, _Handler]:
        handlers: dict[Any, _Handler] = {_Tensor.data.__get__: self._cutting(Way.DATA, "data")}
        handlers.update((function, self._cutting(Way.DETACH, "detach")) for function in _DETACHES)
        handlers.update((function, self._cutting(Way.ITEM, _name(function))) for function in _NUMBERS)
        handlers.update((function, self._cutting(Way.NUMPY, _name(function))) for function in _ARRAYS)
        handlers.update((function, self._exposing) for function in _EXPOSES)
        handlers[_DATA_SET] = self._replacing
        handlers.update((function, self._copying) for function in _COPIES)
        handlers.update((function, self._zeroing) for function in _ZERO)
        handlers.update((function, self._flagging) for function in (_Tensor.requires_grad_, _REQUIRES_GRAD_SET))
        return handlers

    def _cutting(self, way: Way, operation: str) -> _Handler:
        def handle(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
            counts, spot = self.count(function, frame)
            result = self._run(counts, function, args, kwargs)
            source = args[0]
            if counts.direct and source.requires_grad:
                counts.tracked_in += 1
                self._cuts.cut(spot, way, operation, (source,), result)
            elif self._cuts.values and (cuts := self._cuts.values.get(id(source))):
                if way in (Way.ITEM, Way.NUMPY):
                    self._cuts.escaped(cuts)
                else:
                    self._cuts.derived(cuts, result)
            if way is Way.NUMPY and self.live is not None:
                self.live.expose(source, spot)
            return result

        return handle

    def _exposing(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
        spot, direct = self._frames.spot(frame)
        if self.live is not None and direct:
            self.live.expose(args[0], spot, _name(function))
        return function(*args, **kwargs)

    def _replacing(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
        counts, spot = self.count(function, frame)
        if self.live is not None:
            self.live.replaced(args[0], args[1], spot)
        return self._run(counts, function, args, kwargs)

    def _copying(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
        counts, spot = self.count(function, frame)
        result = self._run(counts, function, args, kwargs)
        if kwargs.get("requires_grad"):
            self._makes_leaf(result, spot)
        given = args[-1] if function is _Tensor.new_tensor else args[0] if args else kwargs.get("data")
        items = given if isinstance(given, list | tuple) else (given,)
        sources = [item for item in items if isinstance(item, torch.Tensor) and item.requires_grad]
        if sources and counts.direct and result is not given and result.grad_fn is None:
            counts.tracked_in += 1
            self._cuts.cut(spot, Way.COPY, _name(function), sources, result)
        if self._cuts.values:
            self._follow(tuple(items), result)
        return result

    def _zeroing(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
        counts, spot = self.count(function, frame)
        result = self._run(counts, function, args, kwargs)
        source = args[0] if args else None
        if counts.direct and isinstance(source, torch.Tensor) and source.requires_grad:
            counts.tracked_in += 1
            counts.tracked_out += 1
            # The graph goes on, so that nothing has to be followed.
            self._cuts.cut(spot, Way.ZERO, _name(function), (source,), None)
        return result

    def _flagging(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Any:
        counts, spot = self.count(function, frame)
        tensor = args[0]
        before = tensor.requires_grad
        result = self._run(counts, function, args, kwargs)
        counts.tracked_in += before
        counts.tracked_out += tensor.requires_grad
        if not before and tensor.requires_grad and not isinstance(tensor, nn.Parameter):
            self._makes_leaf(tensor, spot)
        if before and not tensor.requires_grad and self._local.depth and isinstance(tensor, nn.Parameter):
            self._cuts.frozen(spot, "requires_grad", tensor)
        return result

    def made_at(self, leaf: torch.Tensor) -> Spot | None:
        """Return where ``leaf`` was made to require grad, if that was seen."""
        reference, spot = self._leaves.get(id(leaf), (None, None))
        return spot if reference is not None and reference() is leaf else None

    def _makes_leaf(self, leaf: torch.Tensor, spot: Spot | None) -> None:
        if spot is not None:
            leaves, identity = self._leaves, id(leaf)
            leaves[identity] = (weakref.ref(leaf, lambda _: leaves.pop(identity, None)), spot)

    def _run(self, counts: _Counts, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            counts.errors.add(first_line(error))
            raise

    def ordinary(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, frame: FrameType) -> Any:
        """Run and count any call of torch (level 2)."""
        counts, spot = self.count(function, frame)
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)
        except Exception as error:
            counts.errors.add(first_line(error))
            raise
        tracked = False
        for argument in args:
            if isinstance(argument, _Tensor):
                if argument.requires_grad:
                    tracked = True
                    break
            elif isinstance(argument, list | tuple) and _any_tracked(argument):
                tracked = True
                break
        values = self._cuts.values
        if tracked:
            counts.tracked_in += 1
            if isinstance(result, _Tensor) and result.requires_grad:
                counts.tracked_out += 1
            elif not is_grad_enabled() and _depends_on_values(function, result):
                self._cuts.untracked(spot, _name(function), self._local.switched_off(), args, result)
        if values and function not in _OF_SHAPE:
            self._follow(args, args[0] if function is _Tensor.__setitem__ else result)
        return result

    def _follow(self, args: tuple[Any, ...], result: Any) -> None:
        """Pass the cuts of the arguments on to the result."""
        values = self._cuts.values
        cuts: frozenset[Any] = frozenset()
        for argument in args:
            if isinstance(argument, list | tuple):
                for item in argument:
                    cuts |= values.get(id(item), frozenset())
            else:
                cuts |= values.get(id(argument), frozenset())
        if cuts:
            for item in result if isinstance(result, list | tuple) else (result,):
                self._cuts.derived(cuts, item)


class _Ours(TorchFunctionMode):
    """The base of both modes."""

    def __init__(self, watch: CallWatch) -> None:
        super().__init__()
        self.watch = watch
        self._handlers = watch._handlers


class _SomeCalls(_Ours):
    """Level 1: what has no handler costs one look-up."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = self._handlers.get(func)
        if handler is None or _is_compiling():
            return func(*args, **kwargs) if kwargs else func(*args)
        return handler(func, args, kwargs or {}, sys._getframe(1))


class _EveryCall(_Ours):
    """Level 2: every call but reading an attribute is counted."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = self._handlers.get(func)
        if _is_compiling() or (handler is None and type(func) is _METHOD_WRAPPER):
            return func(*args, **kwargs) if kwargs else func(*args)
        if handler is not None:
            return handler(func, args, kwargs or {}, sys._getframe(1))
        return self.watch.ordinary(func, args, kwargs, sys._getframe(1))


_DATA_SET = torch.Tensor.data.__set__
_REQUIRES_GRAD_SET = torch.Tensor.requires_grad.__set__


def first_line(error: BaseException) -> str:
    """Return an exception as ``Type: first line``."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _depends_on_values(function: Any, result: Any) -> bool:
    """Tell whether ``result`` is a value that could have had a gradient."""
    return isinstance(result, _Tensor) and result.is_floating_point() and function not in _OF_SHAPE


def _any_tracked(items: Any) -> bool:
    return any(isinstance(item, _Tensor) and item.requires_grad for item in items)


def _name(function: Any) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    if name in ("__get__", "__set__"):
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        return f"{owner}.{name}" if owner else name
    return str(name)
