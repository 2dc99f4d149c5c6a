"""The errors that torch raises when a saved tensor is read that was changed since, in torch's own words.

Torch does not raise them where hooks on saved tensors are in force (``SavedVariable::unpack`` in
``torch/csrc/autograd/saved_variable.cpp``).
"""

from __future__ import annotations

import re
from typing import Any

import torch

from gradlint.runtime.watch.held import Handle

_autograd: Any = torch._C._autograd

_WORDS = (
    "one of the variables needed for gradient computation has been modified by an inplace operation: "
    "[torch.FloatTensor [1]], which is output 0 of Exp, is at version 1; expected version 0 instead. "
    "Hint: enable anomaly detection to find the operation that failed to compute its gradient, "
    "with torch.autograd.set_detect_anomaly(True)."
)


def version_error(handle: Handle) -> RuntimeError:
    """Return the error for a tensor whose version has moved; to be called while a backward reads it."""
    tensor = handle.tensor
    words = _torch_words()
    text = words.replace("[torch.FloatTensor [1]]", f"[{_described(tensor)}]")
    text = text.replace("version 1;", f"version {tensor._version};")
    text = text.replace("expected version 0", f"expected version {handle.version}")
    node = torch._C._current_autograd_node() if handle.output >= 0 else tensor.grad_fn
    if node is None:
        return RuntimeError(re.sub(r"\], which is output 0 of \w+,", "]", text))
    name = node.name() if "ExpBackward0" in words else re.sub(r"Backward(0?|(\d+))$", r"\2", node.name())
    number = max(handle.output, 0)
    return RuntimeError(re.sub(r"which is output 0 of \w+,", lambda _: f"which is output {number} of {name},", text))


def detached_error() -> RuntimeError:
    """Return the error for an input that was detached in place after it was saved."""
    return RuntimeError(
        "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_()."
        "This is not supported, please use out-of-place `.detach()` instead"
    )


def _described(tensor: torch.Tensor) -> str:
    shape = tensor._nested_tensor_size().tolist() if tensor.is_nested else list(tensor.size())
    kind = tensor.type()
    # Types without a name of old: `torch.cuda.ComplexFloatTensor` is written `CUDAComplexFloatType`.
    if tensor.is_complex() or tensor.is_meta:
        device = "Meta" if tensor.is_meta else tensor.device.type.upper()
        kind = device + kind.rpartition(".")[2].removesuffix("Tensor") + "Type"
    return f"{kind} {shape}"


def _torch_words() -> str:
    """Provoke the error on a tensor of one number: its words differ between versions of torch, and in anomaly mode."""
    hooks = []
    enabled = torch.is_grad_enabled()
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        while (top := _autograd._top_saved_tensors_default_hooks(False)) is not None:
            _autograd._pop_saved_tensors_default_hooks()
            hooks.append(top)
        torch._C._set_grad_enabled(True)
        try:
            result = torch.ones(1, dtype=torch.float32, requires_grad=True).exp()
            result.detach().zero_()
            _ = result.grad_fn._saved_result
        except RuntimeError as error:
            return str(error)
        finally:
            torch._C._set_grad_enabled(enabled)
            while hooks:
                _autograd._push_saved_tensors_default_hooks(*hooks.pop())
    return _WORDS
