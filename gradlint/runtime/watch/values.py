"""What a tensor covers of its storage, and whether its values are still what they were."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Geometry = tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype]
"""Offset in elements, shape, strides in elements and dtype: which part of its storage a tensor is."""

Values = tuple[Any, ...]
"""The shape, the dtype, and a copy of the values, or a digest of them where a copy would be large."""

_COPY_LIMIT = 256
_CHUNK = 1 << 16
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Odd, so that a change of one single value always changes the sum; signed, as torch's integers are.
_FACTOR = 0x1E3779B97F4A7C15


@contextmanager
def unseen() -> Iterator[None]:
    """Compute without gradients, and without any mode of the recorder or the program taking notice."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch(), torch._C._AutoDispatchBelowAutograd():
        yield


def geometry(tensor: torch.Tensor) -> Geometry:
    """Return which part of its storage ``tensor`` is. Raises `RuntimeError` for layouts without strides."""
    return tensor.storage_offset(), tuple(tensor.size()), tuple(tensor.stride()), tensor.dtype


def reach(part: Geometry) -> tuple[int, int]:
    """Return the first byte of the storage that ``part`` covers and the one behind its last; equal if it is empty."""
    offset, size, stride, dtype = part
    start = offset * dtype.itemsize
    if 0 in size:
        return start, start
    last = sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    return start, (offset + last + 1) * dtype.itemsize


def remember(tensor: torch.Tensor) -> Values | None:
    """Return what is needed to tell later whether the values of ``tensor`` changed; None if they cannot be read.

    To be called inside `unseen`, or below the modes.
    """
    if not _readable(tensor):
        return None
    bits = _bits(tensor)
    small = bits.numel() * bits.element_size() <= _COPY_LIMIT
    return tuple(tensor.size()), tensor.dtype, bits.clone() if small else _digest(bits)


def differs(tensor: torch.Tensor, before: Values) -> bool:
    """Tell whether ``tensor`` has other values (or another shape) than `remember` found; called as `remember` is."""
    shape, dtype, values = before
    if tuple(tensor.size()) != shape or tensor.dtype != dtype:
        return True
    if not _readable(tensor):
        return False
    bits = _bits(tensor)
    if isinstance(values, torch.Tensor):
        return not bool(torch.equal(bits, values))
    return _digest(bits) != int(values)


def _readable(tensor: torch.Tensor) -> bool:
    """Some tensors have no values, have lost them (`resize_(0)` of the storage), or must not be waited for."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return False
    if tensor.dtype.itemsize not in _WORDS and not tensor.is_complex():
        return False
    if reach(geometry(tensor))[1] > tensor.untyped_storage().nbytes():
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the values as integers: NaN is to be equal to NaN."""
    tensor = tensor.resolve_conj().resolve_neg()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(_WORDS[tensor.element_size()])


def _digest(bits: torch.Tensor) -> int:
    """Return a sum in which every value has an odd weight of its own, so that also an exchange of two values shows."""
    width = max(1, bits.numel() // max(1, bits.size(0)))
    total = torch.zeros((), dtype=torch.int64, device=bits.device)
    for rows in bits.split(max(1, _CHUNK // width)):
        for chunk in rows.reshape(-1).split(_CHUNK):
            total = total * _FACTOR + (chunk.to(torch.int64) * _weights(bits.device)[: chunk.numel()]).sum()
    return int(total.item())


@functools.cache
def _weights(device: torch.device) -> torch.Tensor:
    """Return odd numbers without a pattern: a sum of regular changes must not come out as zero."""
    mixed = torch.arange(1, _CHUNK + 1, device=device) * _FACTOR
    mixed = (mixed ^ (mixed >> 29)) * _FACTOR
    return (mixed ^ (mixed >> 32)) | 1
