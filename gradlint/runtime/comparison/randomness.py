"""Random numbers during a comparison: equal seeds, what was drawn, and runs without dropout."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

SOURCES = ("`random`", "numpy", "torch", "torch on CUDA")
"""The generators that are seeded and watched, in the order of what `drawn` returns."""

_BY_MODULES: frozenset[Any] = frozenset(
    (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
)
_KERNELS: frozenset[Any] = frozenset(
    getattr(torch, name + ending)
    for name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
    for ending in ("", "_")
)
_ATTENTION = F.scaled_dot_product_attention


def seed_all(seed: int) -> None:
    """Seed python's, numpy's (if it is loaded) and torch's generators, those of CUDA if it is in use.

    ``torch.manual_seed`` would also queue a seed for a CUDA that is not in use yet.
    """
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def drawn() -> tuple[str, ...]:
    """Return a digest of the state of each of `SOURCES`: equal digests mean that as many numbers were drawn."""
    numpy = sys.modules.get("numpy")
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = (
        random.getstate(),
        None if numpy is None else numpy.random.get_state(),
        torch.get_rng_state().tolist(),
        [state.tolist() for state in cuda],
    )
    return tuple(hashlib.blake2b(pickle.dumps(state), digest_size=8).hexdigest() for state in states)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put every generator back to its state when the block ends."""
    numpy = sys.modules.get("numpy")
    own, legacy = random.getstate(), None if numpy is None else numpy.random.get_state()
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(own)
        if numpy is not None:
            numpy.random.set_state(legacy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


class NoDropout(TorchFunctionMode):
    """While it is entered nothing is dropped; ``applied`` counts the calls that would have dropped something.

    Dropout inside of recurrent and attention modules is one number of theirs, which `take_from` sets to zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.applied = 0

    def take_from(self, modules: Iterator[nn.Module]) -> None:
        """Set the dropout of recurrent and attention modules to zero."""
        for module in modules:
            if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
                module.dropout = 0.0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``function``, with a probability of zero if it drops."""
        kwargs = kwargs or {}
        if function in _BY_MODULES:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            self.applied += bool(bound.arguments["p"] and bound.arguments["training"])
            bound.arguments["p"] = 0.0
            return function(*bound.args, **bound.kwargs)
        if function in _KERNELS:
            values = dict(zip(("input", "p", "train"), args, strict=False)) | kwargs
            self.applied += bool(values["p"] and values["train"])
            return function(values["input"], 0.0, values["train"])
        if function is _ATTENTION:
            return self._attention(args, kwargs)
        return function(*args, **kwargs)

    def _attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        values = dict(zip(names, args, strict=False)) | kwargs
        self.applied += bool(values.pop("dropout_p", 0.0))
        return _ATTENTION(**values)
