"""Taking a dispatch mode out of the backward engine, but not out of the user's code that runs in there.

While a dispatch mode is on, formulas of torch's derivatives avoid some operations (``isTensorSubclassLike`` in
``torch/csrc/autograd/FunctionsManual.cpp``), and gradients differ in their last bits: those of ``cumprod``, for one.
A mode also costs most of its time there, where nothing but torch itself is at work. Hooks, custom functions and
recomputation call torch from Python, which a function mode sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import graph
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch as dispatch

from gradlint.runtime.watch.patches import Patches

_ATTRIBUTE = type(torch.Tensor.requires_grad.__get__)


class InsideBackward:
    """Lets backward passes run without the innermost dispatch mode if it is one of those that ``is_ours`` accepts."""

    def __init__(self, is_ours: Callable[[object], bool]) -> None:
        self._is_ours = is_ours
        self._patches = Patches()

    def start(self) -> None:
        """Begin."""
        run = graph._engine_run_backward
        is_ours = self._is_ours

        def _engine_run_backward(*args: Any, **kwargs: Any) -> Any:
            mode = dispatch._get_current_dispatch_mode()
            if not is_ours(mode):
                return run(*args, **kwargs)
            dispatch._pop_mode()
            try:
                with _UserCode(mode):
                    return run(*args, **kwargs)
            finally:
                dispatch._push_mode(mode)

        for module in (graph, torch.autograd):
            self._patches.set(module, "_engine_run_backward", _engine_run_backward)

    def stop(self) -> None:
        """End."""
        self._patches.undo()


class _UserCode(TorchFunctionMode):
    """Enters the dispatch mode for every call of torch from Python."""

    def __init__(self, mode: dispatch.TorchDispatchMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if type(func) is _ATTRIBUTE or torch.compiler.is_dynamo_compiling():
            return func(*args, **kwargs) if kwargs else func(*args)
        dispatch._push_mode(self._mode)
        try:
            return func(*args, **kwargs) if kwargs else func(*args)
        finally:
            dispatch._pop_mode()
